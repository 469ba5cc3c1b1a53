"""The supervisor under faults: crashes, kills, a second supervisor, leftovers. The processes are real, and small."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aac_grpc.backends import control, leftovers
from aac_grpc.backends.errors import BackendError, ProcessFailed, StateLocked, StopRequested
from aac_grpc.backends.logs import cap_log
from aac_grpc.backends.process import RestartPolicy
from aac_grpc.backends.spec import ProcessSpec, ProcessState
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor

CHECKOUT = Path(__file__).resolve().parents[2]
QUICK = RestartPolicy(first_delay_s=0.05, longest_delay_s=0.2, stable_after_s=0.5)

SLEEPER = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
)
UNTIED = "import ctypes, time; ctypes.CDLL(None).prctl(1, 0, 0, 0, 0); print('untied', flush=True); time.sleep(600)"
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)"
)

# A supervisor of its own, as `aac up` is one: it runs what its arguments say until it is asked to stop.
OWNER = """
import asyncio, sys
from pathlib import Path
from aac_grpc.backends.spec import ProcessSpec
from aac_grpc.backends.state import StateDirectory
from aac_grpc.backends.supervisor import Supervisor

async def main(state, programs):
    async with Supervisor(state, handle_signals=True, info={"gateway": "127.0.0.1:50050"}) as supervisor:
        await supervisor.start([
            ProcessSpec(name=f"p{number}", argv=(sys.executable, "-I", "-S", "-c", program),
                        log_path=state.log_path(f"p{number}"), grace_s=30)
            for number, program in enumerate(programs)
        ])
        print("ready", flush=True)
        await supervisor.until_stop_requested()

asyncio.run(main(StateDirectory(Path(sys.argv[1])), sys.argv[2:]))
"""

Owner = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def owner(state: StateDirectory) -> Iterator[Owner]:
    """Starts supervisors in processes of their own, and leaves none behind."""
    started: list[subprocess.Popen[str]] = []

    def start(*programs: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(state.path), *programs],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()
    leftovers.end_leftovers(state.run / "processes.json")


def program(state: StateDirectory, name: str, code: str, **settings: object) -> ProcessSpec:
    argv = (sys.executable, "-I", "-S", "-c", code)
    return ProcessSpec(name=name, argv=argv, log_path=state.log_path(name), **settings)  # type: ignore[arg-type]


def pids_of(state: StateDirectory) -> list[int]:
    status = control.read_status(state)
    assert status is not None
    return [process.pid for process in status.processes if process.pid is not None]


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def wait_until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.02)


async def eventually(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come about"
        await asyncio.sleep(0.02)


def log_holds(state: StateDirectory, name: str, text: str) -> Callable[[], bool]:
    return lambda: text in state.log_path(name).read_text()


async def test_processes_start_after_what_they_depend_on_and_stop_before_it(state: StateDirectory) -> None:
    journal = state.path / "journal"
    code = (
        "import os, signal, sys, time\n"
        f"write = lambda word: os.write(os.open({str(journal)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT), word)\n"
        "def end(*_):\n"
        "    write(b'-NAME ')\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "write(b'+NAME ')\n"
        "time.sleep(600)"
    )

    def spec(name: str, *depends_on: str) -> ProcessSpec:
        async def started() -> bool:
            return journal.exists() and f"+{name} " in journal.read_text()

        return program(state, name, code.replace("NAME", name), ready=started, depends_on=depends_on)

    async with Supervisor(state) as supervisor:
        await supervisor.start([spec("gateway", "engine"), spec("engine", "database"), spec("database")])
        assert [process.state for process in supervisor.status().processes] == [ProcessState.READY] * 3
    assert journal.read_text().split() == ["+database", "+engine", "+gateway", "-gateway", "-engine", "-database"]


async def test_a_process_that_is_killed_is_started_again(state: StateDirectory) -> None:
    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([program(state, "engine", SLEEPER)])
        before = supervisor.status().processes[0]
        supervisor.kill("engine")
        await eventually(lambda: supervisor.status().processes[0].restarts == 1)
        await eventually(lambda: supervisor.status().processes[0].state is ProcessState.READY)
        after = supervisor.status().processes[0]
    assert after.pid != before.pid
    assert after.last_exit == "killed by SIGKILL"


async def test_an_end_that_was_wanted_is_told_as_no_crash(state: StateDirectory) -> None:
    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([program(state, "engine", SLEEPER), program(state, "other", SLEEPER)])
        await asyncio.to_thread(control.request_restart, state, "engine", by="aac restart", until_ready=True)
        await supervisor.restart("other", until_ready=True)
        told = [process.last_exit for process in supervisor.status().processes]
        assert told == ["restarted by aac restart", "restarted by the supervisor"]
    assert [process.last_exit for process in supervisor.status().processes] == ["stopped", "stopped"]


async def test_a_process_that_does_not_end_when_it_is_told_to_is_told_as_killed(state: StateDirectory) -> None:
    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([program(state, "deaf", STUBBORN, grace_s=0.1)])
        await eventually(log_holds(state, "deaf", "deaf"))
        await supervisor.restart("deaf", until_ready=True)
        assert supervisor.status().processes[0].last_exit == "restarted by the supervisor; killed by SIGKILL"


async def test_the_children_of_a_process_end_with_it(state: StateDirectory) -> None:
    async with Supervisor(state) as supervisor:
        await supervisor.start([program(state, "parent", PARENT)])
        log = state.log_path("parent")
        await eventually(lambda: log.read_text().endswith("\n"))
        child = int(log.read_text())
        assert runs(child)
    wait_until(lambda: not runs(child))


async def test_a_process_that_cannot_start_is_told_with_the_end_of_its_log(state: StateDirectory) -> None:
    async with Supervisor(state, policy=QUICK) as supervisor:
        with pytest.raises(ProcessFailed, match=r"(?s)engine did not start: exit code 3.*no such table"):
            await supervisor.start(
                [program(state, "engine", "print('no such table'); raise SystemExit(3)", ready=never)]
            )
        assert supervisor.status().processes[0].state is ProcessState.FAILED


async def test_a_process_that_is_never_ready_is_told_with_the_reason(state: StateDirectory) -> None:
    async def refused() -> bool:
        raise ConnectionRefusedError("nobody listens")

    async with Supervisor(state, policy=QUICK) as supervisor:
        with pytest.raises(ProcessFailed, match=r"not ready after 0.3 s: ConnectionRefusedError: nobody listens"):
            await supervisor.start([program(state, "engine", SLEEPER, ready=refused, ready_deadline_s=0.3)])
        assert supervisor.status().processes[0].pid is None


async def test_a_program_that_is_not_there_is_told_by_name(state: StateDirectory) -> None:
    spec = ProcessSpec(name="engine", argv=("/nonexistent/engine",), log_path=state.log_path("engine"), ready=never)
    async with Supervisor(state, policy=QUICK) as supervisor:
        with pytest.raises(ProcessFailed, match=r"(?s)cannot run /nonexistent/engine"):
            await supervisor.start([spec])


@pytest.mark.parametrize(
    ("depends_on", "complaint"), [(("b",), "depend on each other"), (("x",), "unknown processes to depend on: x")]
)
async def test_dependencies_that_cannot_be_met_are_refused(
    state: StateDirectory, depends_on: tuple[str, ...], complaint: str
) -> None:
    async with Supervisor(state) as supervisor:
        specs = [program(state, "a", SLEEPER, depends_on=depends_on), program(state, "b", SLEEPER, depends_on=("a",))]
        with pytest.raises(BackendError, match=complaint):
            await supervisor.start(specs)


async def test_a_stop_that_is_asked_for_during_the_start_ends_it(state: StateDirectory) -> None:
    reached = False
    async with Supervisor(state) as supervisor:
        asyncio.get_running_loop().call_later(0.2, supervisor.request_stop)
        try:
            await supervisor.start([program(state, "engine", SLEEPER, ready=never)])
        except StopRequested:
            reached = True
            raise
    assert reached
    assert supervisor.status().processes[0].state is ProcessState.STOPPED


async def test_a_second_supervisor_is_told_who_holds_the_state(state: StateDirectory, owner: Owner) -> None:
    first = owner(SLEEPER)
    with pytest.raises(StateLocked, match=f"process id {first.pid}.*aac down") as refusal:
        async with Supervisor(state):
            pass
    assert refusal.value.pid == first.pid


async def test_a_dropped_process_runs_as_the_other_account(state: StateDirectory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can drop to another account")
    from aac_grpc.backends.privileges import unprivileged_user

    nobody = unprivileged_user()
    assert nobody is not None
    spec = ProcessSpec(
        name="dropped", argv=("/bin/sh", "-c", "id -u; id -G; sleep 600"), log_path=state.log_path("d"), user=nobody
    )
    async with Supervisor(state) as supervisor:
        await supervisor.start([spec])
        await eventually(lambda: state.log_path("d").read_text().split() == [str(nobody.uid), str(nobody.gid)])
        pid = supervisor.status().processes[0].pid
    assert pid is not None
    assert not runs(pid)


def test_a_killed_supervisor_leaves_no_process(state: StateDirectory, owner: Owner) -> None:
    supervisor = owner(SLEEPER, STUBBORN, PARENT)
    wait_until(log_holds(state, "p1", "deaf"))
    pids = pids_of(state)
    assert [runs(pid) for pid in pids] == [True] * 3
    supervisor.kill()
    wait_until(lambda: not any(map(runs, pids)), seconds=3)


def test_the_next_start_ends_what_a_dead_supervisor_left(state: StateDirectory, owner: Owner) -> None:
    supervisor = owner(UNTIED, PARENT)
    wait_until(log_holds(state, "p0", "untied"))
    wait_until(log_holds(state, "p1", "\n"))
    grandchild = int(state.log_path("p1").read_text())
    untied, parent = pids_of(state)
    wait_until(lambda: len(leftovers.read_records(state.run / "processes.json")) == 2)
    supervisor.kill()
    wait_until(lambda: not runs(parent))
    assert [runs(untied), runs(grandchild)] == [True, True]
    owner(SLEEPER)
    assert [runs(untied), runs(grandchild)] == [False, False]


def test_a_later_process_with_a_recorded_id_is_left_alone(state: StateDirectory) -> None:
    state.create()
    bystander = subprocess.Popen([sys.executable, "-I", "-S", "-c", SLEEPER], start_new_session=True)
    try:
        found = leftovers.record("engine", bystander.pid, signal.SIGTERM, 1.0)
        assert found is not None
        earlier = leftovers.Record(**{**vars_of(found), "start_ticks": found.start_ticks - 1})
        before_boot = leftovers.Record(**{**vars_of(found), "boot_id": "another"})
        leftovers.write_records(state.run / "processes.json", [earlier, before_boot])
        assert leftovers.end_leftovers(state.run / "processes.json") == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_another_process_reads_the_status_and_stops_everything(state: StateDirectory, owner: Owner) -> None:
    assert control.read_status(state) is None
    supervisor = owner(SLEEPER, SLEEPER)
    status = control.read_status(state.path)
    assert status is not None
    assert (status.pid, status.info) == (supervisor.pid, {"gateway": "127.0.0.1:50050"})
    assert [(process.name, process.state) for process in status.processes] == [("p0", "ready"), ("p1", "ready")]
    pids = pids_of(state)
    assert control.request_stop(state.path)
    assert not any(map(runs, pids))
    assert control.read_status(state) is None
    assert not control.request_stop(state)


def test_another_process_restarts_and_kills_by_name(state: StateDirectory, owner: Owner) -> None:
    owner(SLEEPER, SLEEPER)
    first, second = pids_of(state)
    assert control.request_restart(state, "p0")
    assert control.request_kill(state, "p1")
    wait_until(lambda: len(pids_of(state)) == 2 and not {first, second} & set(pids_of(state)))
    with pytest.raises(BackendError, match="no process is named engine; there are p0, p1"):
        control.request_restart(state, "engine")


async def test_a_restart_can_be_waited_for_until_the_process_is_ready_again(state: StateDirectory) -> None:
    mark = state.path / "mark"
    code = f"import pathlib, time; time.sleep(0.3); pathlib.Path({str(mark)!r}).write_text('x'); time.sleep(600)"

    async def is_there() -> bool:
        return mark.exists()

    async with Supervisor(state, policy=QUICK) as supervisor:
        await supervisor.start([program(state, "slow", code, ready=is_there)])
        (pid,) = await asyncio.to_thread(pids_of, state)
        mark.unlink()
        assert await asyncio.to_thread(control.request_restart, state, "slow", until_ready=True)
        assert mark.exists()
        assert pid not in await asyncio.to_thread(pids_of, state)
        spec = supervisor._processes["slow"].spec
        mark.unlink()
        object.__setattr__(spec, "argv", ("/nonexistent",))
        with pytest.raises(BackendError, match="slow did not start"):
            await asyncio.to_thread(control.request_restart, state, "slow", until_ready=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything(state: StateDirectory, owner: Owner, number: signal.Signals) -> None:
    supervisor = owner(SLEEPER)
    pids = pids_of(state)
    supervisor.send_signal(number)
    assert supervisor.wait(10) == 0
    assert not any(map(runs, pids))
    assert leftovers.read_records(state.run / "processes.json") == []


def test_a_second_signal_kills_what_does_not_want_to_end(state: StateDirectory, owner: Owner) -> None:
    supervisor = owner(STUBBORN)
    wait_until(log_holds(state, "p0", "deaf"))
    (pid,) = pids_of(state)
    supervisor.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert runs(pid)
    supervisor.send_signal(signal.SIGINT)
    assert supervisor.wait(5) == 0
    assert not runs(pid)


async def test_the_control_socket_works_however_deep_the_state_lies(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path.joinpath(*["a-directory-with-a-long-name"] * 5, "state"))
    async with Supervisor(state):
        status = await asyncio.to_thread(control.read_status, state)
    assert status is not None
    assert status.pid == os.getpid()


async def test_a_log_is_cut_while_its_process_writes(state: StateDirectory) -> None:
    code = "import time\nwhile True: print('x' * 999, flush=True); time.sleep(0.001)"
    async with Supervisor(state) as supervisor:
        await supervisor.start([program(state, "talker", code)])
        log = state.log_path("talker")
        await eventually(lambda: log.stat().st_size > 50_000)
        assert cap_log(log, max_bytes=50_000)
        assert log.stat().st_size < 50_000
        await eventually(lambda: log.stat().st_size > 10_000)
    assert b"\0" not in log.read_bytes()
    assert log.with_name("talker.log.1").stat().st_size > 50_000


async def never() -> bool:
    return False


def vars_of(record: leftovers.Record) -> dict[str, object]:
    return {name: getattr(record, name) for name in record.__slots__}
