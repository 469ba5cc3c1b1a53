"""The spine's figures: what the base costs, what the platform carries, how it starts, what it takes."""

from bench.spine.chain import measure_chain
from bench.suite import Bench, Suite

SPINE = Suite("spine", [Bench("chain", measure_chain)])
