"""A second try is for tests among real processes alone, and for few of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.second_try import MOST, second_try

AMONG_PROCESSES = "tests/integration/test_streams.py::test_a_stream_resumes"


@pytest.mark.parametrize("folder", ["contract", "integration", "e2e", "faults"])
def test_a_test_among_real_processes_is_tried_again(folder: str) -> None:
    assert second_try([f"tests/{folder}/test_some.py::test_one[2-True]"]) == [
        f"tests/{folder}/test_some.py::test_one[2-True]"
    ]


@pytest.mark.parametrize(
    "other",
    [
        "tests/unit/test_book.py::test_price_goes_first",
        "tests/integration/test_does_not_import.py",
        "tests/faults/test_kills.py::test_nothing_is_lost",
        "tests/faults/test_drills.py::test_nothing_is_lost",
    ],
)
def test_a_defect_that_no_clock_explains_fails_at_once_and_with_it_all_others(other: str) -> None:
    assert second_try([AMONG_PROCESSES, other]) == []


def test_many_failures_are_no_accident() -> None:
    tests = [f"{AMONG_PROCESSES}[{number}]" for number in range(MOST + 1)]
    assert second_try(tests[:MOST]) == tests[:MOST]
    assert second_try(tests) == []


@pytest.mark.parametrize(("failed", "status"), [({AMONG_PROCESSES: True}, 0), ({}, 1), (None, 1)])
def test_what_failed_is_read_where_pytest_writes_it(
    tmp_path: Path, failed: dict[str, bool] | None, status: int
) -> None:
    if failed is not None:
        (tmp_path / "v/cache").mkdir(parents=True)
        (tmp_path / "v/cache/lastfailed").write_text(json.dumps(failed))
    command = [sys.executable, "-m", "tests.support.second_try", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == status
    assert ran.stdout.splitlines() == list(failed or ()), "an empty line would stand for the whole suite"
