"""Recorded market data, oracle tables and scenarios: not part of the project, and not everywhere."""

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("AAC_SHARED") or Path(__file__).resolve().parents[3] / "shared")
"""The folder beside the checkout, unless AAC_SHARED names another."""


def shared(name: str = "") -> Path:
    """Returns a file of it, or the folder; skips the test where that is absent, and says so."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not there; AAC_SHARED says where the recorded data is")
    return path
