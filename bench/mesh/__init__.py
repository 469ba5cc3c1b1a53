"""The mesh's figures: what policy costs each call, how it holds under load, and the same beside the ancestor."""

from bench.suite import Bench, Suite, later

MESH = Suite(
    "mesh",
    [
        Bench("chain", later("bench.mesh.chain:measure_chain")),
        Bench("interceptors", later("bench.mesh.interceptors:measure_interceptors")),
        Bench("quota", later("bench.mesh.quota:measure_quota")),
        Bench("gateway", later("bench.mesh.gateway:measure_gateway")),
        Bench("users", later("bench.mesh.users:measure_users")),
        Bench("overload", later("bench.mesh.overload:measure_overload")),
        Bench("workers", later("bench.mesh.workers:measure_workers")),
        Bench("memory", later("bench.mesh.memory:measure_memory")),
        Bench("database", later("bench.mesh.database:measure_database")),
        Bench("cache", later("bench.mesh.cache:measure_cache")),
        Bench("ancestor", later("bench.mesh.ancestor:measure_ancestor")),
        Bench("kafka", later("bench.mesh.kafka:measure_kafka")),
    ],
)
