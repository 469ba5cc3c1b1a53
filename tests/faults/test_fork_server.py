"""Programs forked by a fork server, and what happens to them and to it. The processes are real, and small."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from aac_grpc.backends import control, forked, leftovers
from aac_grpc.backends.errors import ProcessFailed
from aac_grpc.backends.process import RestartPolicy
from aac_grpc.backends.spec import ProcessSpec, ProcessState, ProcessStatus
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from tests.support.forked import PRELOADED

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2, stable_after_s=0.5)
SERVER = "fork-server"
PATIENCE_S = 60.0
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen' / 'python'}",
    "LC_ALL": "C.UTF-8",  # without one, a fresh interpreter sets another variable
}

pytestmark = pytest.mark.skipif(not forked.can_fork(), reason="this system has no pidfd")


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.fixture
async def supervisor(state: StateDirectory) -> AsyncIterator[Supervisor]:
    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([server(state)])
        yield supervisor


def server(state: StateDirectory, module: str = PRELOADED) -> ProcessSpec:
    socket = state.run / "fork.sock"
    return ProcessSpec(
        name=SERVER,
        argv=(sys.executable, "-m", "aac_grpc.backends.fork_server", str(socket), module),
        env=ENVIRONMENT,
        log_path=state.log_path(SERVER),
        ready=partial(forked.answers, socket),
    )


def program(state: StateDirectory, name: str, what: str = "serve", **more: Any) -> ProcessSpec:
    """A program that tells what it is; ready once it has."""

    async def serves() -> bool:
        return "serving\n" in state.log_path(name).read_text()

    settings = {"env": {**ENVIRONMENT, "NAME": name}, "ready": serves, "fork_server": state.run / "fork.sock", **more}
    argv = (sys.executable, "-m", "tests.support.forked", what)
    return ProcessSpec(name=name, argv=argv, log_path=state.log_path(name), **settings)


def told(state: StateDirectory, name: str) -> list[dict[str, Any]]:
    """What each run of a program told of itself."""
    return [json.loads(line) for line in state.log_path(name).read_text().splitlines() if line.startswith("{")]


def status_of(supervisor: Supervisor, name: str) -> ProcessStatus:
    return next(one for one in supervisor.status().processes if one.name == name)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110  other processes do it
            await asyncio.sleep(0.02)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_forked_program_is_what_one_that_was_started_afresh_is(
    state: StateDirectory, supervisor: Supervisor
) -> None:
    await supervisor.start(
        [program(state, "forked", niceness=3), program(state, "fresh", niceness=3, fork_server=None)]
    )
    (one,), (other,) = told(state, "forked"), told(state, "fresh")
    assert [one["forked"], other["forked"]] == [True, False]
    for mine in (one, other):
        assert mine["pid"] == mine["session"] == status_of(supervisor, mine["environment"].pop("NAME")).pid
    same = ("parent", "main", "argv", "environment", "cwd", "niceness", "input", "descriptors", "threads")
    assert {name: one[name] for name in same} == {name: other[name] for name in same}
    assert (one["parent"], one["threads"], one["descriptors"]) == (os.getpid(), 1, [0, 1, 2])
    lines = [" ".join(psutil.Process(mine["pid"]).cmdline()).strip() for mine in (one, other)]
    assert lines[0] == lines[1]


async def test_siblings_share_nothing_that_must_differ(state: StateDirectory, supervisor: Supervisor) -> None:
    names = ["a", "b", "c"]
    await supervisor.start([program(state, name) for name in names])
    all_told = [told(state, name)[0] for name in names]
    assert [one["environment"]["NAME"] for one in all_told] == names
    for what in ("pid", "random", "token", "uuid", "instance"):
        assert len({one[what] for one in all_told}) == len(names), what


async def test_what_a_forked_program_ends_with_is_known(state: StateDirectory, supervisor: Supervisor) -> None:
    for name, words in (("fail", "it failed on purpose"), ("break", "LookupError: it broke on purpose")):
        with pytest.raises(ProcessFailed, match=f"(?s)exit code 1.*{words}"):
            await supervisor.start([program(state, name, name)])
    await supervisor.start([program(state, "engine")])
    supervisor.kill("engine")
    await until(lambda: status_of(supervisor, "engine").restarts == 1 and len(told(state, "engine")) == 2)
    assert status_of(supervisor, "engine").last_exit == "killed by SIGKILL"
    await supervisor.restart("engine", until_ready=True)
    assert status_of(supervisor, "engine").last_exit == "restarted by the supervisor; exit code 7"
    assert "goodbye\n" in state.log_path("engine").read_text()
    assert all(one["forked"] for one in told(state, "engine"))
    assert not [one for one in psutil.Process().children() if one.status() == psutil.STATUS_ZOMBIE]


async def test_the_children_of_a_forked_program_end_with_it(state: StateDirectory, supervisor: Supervisor) -> None:
    await supervisor.start([program(state, "parent", "parent")])
    child = int(state.log_path("parent").read_text().splitlines()[1])
    assert runs(child)
    supervisor.kill("parent")
    await until(lambda: not runs(child))


async def test_programs_outlive_their_fork_server_and_the_next_one_forks_the_next(
    state: StateDirectory, supervisor: Supervisor
) -> None:
    await supervisor.start([program(state, "engine")])
    before = status_of(supervisor, "engine")
    first = status_of(supervisor, SERVER).pid
    supervisor.kill(SERVER)
    await until(lambda: status_of(supervisor, SERVER).pid not in (None, first))
    await until(lambda: status_of(supervisor, SERVER).state is ProcessState.READY)
    assert status_of(supervisor, "engine") == before
    supervisor.kill("engine")
    await until(lambda: len(told(state, "engine")) == 2)
    assert status_of(supervisor, "engine").last_exit == "killed by SIGKILL"
    assert [one["forked"] for one in told(state, "engine")] == [True, True]


async def test_without_a_fork_server_a_program_starts_afresh(state: StateDirectory) -> None:
    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([program(state, "never")])
        with pytest.raises(ProcessFailed, match=r"(?s)threading_import started 1 threads, which no fork would have"):
            await supervisor.start([server(state, "tests.support.threading_import")])
        await supervisor.start([program(state, "failed")])
    assert [told(state, name)[0]["forked"] for name in ("never", "failed")] == [False, False]


async def test_a_fork_server_that_hangs_costs_a_moment_and_makes_no_second_program(
    state: StateDirectory, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forked, "FORKED_WITHIN_S", 0.3)
    supervisor.kill(SERVER, signal.SIGSTOP)
    await supervisor.start([program(state, "engine")])
    supervisor.kill(SERVER, signal.SIGCONT)
    await supervisor.start([program(state, "later")])  # whose turn comes after the engine's
    assert [one["forked"] for one in told(state, "engine")] == [False]
    assert [one["forked"] for one in told(state, "later")] == [True]


# A supervisor of its own, as `aac up` is one.
OWNER = """
import asyncio, sys
from pathlib import Path
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor
from tests.faults.test_fork_server import program, server

async def main(state):
    async with Supervisor(state, handle_signals=True) as supervisor:
        await supervisor.start([server(state)])
        await supervisor.start([program(state, "a"), program(state, "b")])
        print("ready", flush=True)
        await supervisor.until_stop_requested()

asyncio.run(main(StateDirectory(Path(sys.argv[1]))))
"""


@pytest.fixture
def owner(state: StateDirectory) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own, which runs two forked programs."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(state.path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait(10)
    process.stdout.close()
    leftovers.end_leftovers(state.run / "processes.json")


async def test_a_killed_supervisor_leaves_neither_forked_programs_nor_their_fork_server(
    state: StateDirectory, owner: subprocess.Popen[str]
) -> None:
    status = await asyncio.to_thread(control.read_status, state)
    assert status is not None
    pids = [one.pid for one in status.processes if one.pid is not None]
    assert [runs(pid) for pid in pids] == [True] * 3
    assert {record.pid for record in leftovers.read_records(state.run / "processes.json")} == set(pids)
    owner.kill()
    await until(lambda: not any(map(runs, pids)))


async def test_forked_programs_end_with_their_supervisor_also_after_their_fork_server(
    state: StateDirectory, owner: subprocess.Popen[str]
) -> None:
    status = await asyncio.to_thread(control.read_status, state)
    assert status is not None
    pids = {one.name: one.pid for one in status.processes if one.pid is not None}
    os.kill(pids[SERVER], signal.SIGKILL)
    await until(lambda: not runs(pids[SERVER]))
    assert [runs(pids[name]) for name in ("a", "b")] == [True, True]
    owner.kill()
    await until(lambda: not any(map(runs, pids.values())))


def test_what_services_import_starts_no_thread() -> None:
    """Else `aac up` would start them without the fork server, in silence."""
    code = "import os, aac_grpc.platform.preload; print(len(os.listdir('/proc/self/task')))"
    environment = {**ENVIRONMENT, "OPENBLAS_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"
