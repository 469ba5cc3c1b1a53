"""`python -m tests.support.forked`: tells what it is, line by line, then does what its argument says."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import uuid
from typing import Any

PRELOADED = "tests.support.preloaded"


def facts() -> dict[str, Any]:
    """What must be a program's own, or as it was told."""
    from aac_grpc.common.settings import ServiceSettings

    return {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "session": os.getsid(0),
        "forked": PRELOADED in sys.modules,
        "main": sys.modules["__main__"].__name__,
        "argv": sys.argv[1:],
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "niceness": os.nice(0),
        "input": sys.stdin.read(),
        "descriptors": sorted(int(one) for one in os.listdir("/proc/self/fd"))[:-1],
        "random": random.random(),
        "token": secrets.token_hex(8),
        "uuid": str(uuid.uuid4()),
        "instance": ServiceSettings().instance_id,
        "threads": len(os.listdir("/proc/self/task")),
    }


def write(mark: str) -> None:
    """Writes a word to this process's log, in one piece."""
    os.write(1, f"{mark}\n".encode())


def main(what: str) -> None:
    """Does what it is told to."""
    write(json.dumps(facts()))
    if what == "fail":
        sys.exit("it failed on purpose")
    if what == "break":
        raise LookupError("it broke on purpose")
    if what == "parent":
        write(str(subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]).pid))

    def end(*_: object) -> None:
        write("goodbye")
        sys.exit(7)

    signal.signal(signal.SIGTERM, end)
    write("serving")
    time.sleep(600)


if __name__ == "__main__":
    main(sys.argv[1])
