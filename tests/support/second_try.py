"""Which failed tests `scripts/test` tries again in a process of their own: `python -m tests.support.second_try CACHE`.

Prints them, a line each. Exits with 1 where a second try would hide a defect: a test that starts no server and waits
for none has failed, a module can't be read, or more tests have failed than a busy machine explains.
"""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

MOST = 10
"""A machine that stands still for some seconds fails all that wait meanwhile."""
AMONG_PROCESSES = ("tests/contract/", "tests/integration/", "tests/e2e/", "tests/faults/")
NEVER = ("tests/faults/test_kills", "tests/faults/test_drills", "tests/faults/test_trading_crashes")
"""What was lost once is lost."""


def second_try(failed: Iterable[str]) -> list[str]:
    """The tests to run again: all that failed, or none.

    Args:
        failed: Their node ids, as pytest writes them.
    """
    failed = sorted(failed)
    excusable = all(test.startswith(AMONG_PROCESSES) and not test.startswith(NEVER) and "::" in test for test in failed)
    return failed if excusable and len(failed) <= MOST else []


if __name__ == "__main__":
    record = Path(sys.argv[1], "v", "cache", "lastfailed")
    tests = second_try(json.loads(record.read_text()) if record.exists() else ())
    for test in tests:
        print(test)
    sys.exit(not tests)
