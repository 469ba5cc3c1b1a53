"""Callers that cost little: one kind for HTTP/1.1 and one for gRPC, both of bytes prepared before, on uvloop.

A client library's own work per call (grpc.aio's is as much as a server's) would hide what is compared.
"""
