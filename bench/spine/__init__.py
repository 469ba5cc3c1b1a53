"""The spine's figures: what the base costs, what the platform carries, how it starts, what it takes."""

from bench.suite import Bench, Suite, later

SPINE = Suite(
    "spine",
    [
        Bench("chain", later("bench.spine.chain:measure_chain")),
        Bench("orders", later("bench.spine.orders:measure_orders")),
        Bench("ticks", later("bench.spine.ticks:measure_ticks")),
        Bench("startup", later("bench.spine.startup:measure_startup")),
        Bench("duplication", later("bench.spine.duplication:measure_duplication")),
    ],
)
