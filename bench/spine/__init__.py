"""The spine's figures: what the base costs, what the platform carries, how it starts, what it takes."""

from bench.spine.chain import measure_chain
from bench.spine.duplication import measure_duplication
from bench.spine.orders import measure_orders
from bench.spine.startup import measure_startup
from bench.spine.ticks import measure_ticks
from bench.suite import Bench, Suite

SPINE = Suite(
    "spine",
    [
        Bench("chain", measure_chain),
        Bench("orders", measure_orders),
        Bench("ticks", measure_ticks),
        Bench("startup", measure_startup),
        Bench("duplication", measure_duplication),
    ],
)
