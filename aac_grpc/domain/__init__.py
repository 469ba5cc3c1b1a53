"""The trading domain: pure functions and state machines, without I/O, protobuf, clock or randomness.

Prices are integer ticks, quantities integer lots, money integer units of 1e-8 of its currency, and times
integer nanoseconds since the Unix epoch by the venue's clock. Text enters and leaves by `decimals`.
"""
