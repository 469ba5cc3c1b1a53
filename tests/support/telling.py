"""Figures that a test run shows to whoever reads it, passed or not."""

import contextlib

import pytest


def tell(config: pytest.Config, text: str) -> None:
    """Prints text past pytest's capture."""
    capture = config.pluginmanager.get_plugin("capturemanager")
    shown = contextlib.nullcontext() if capture is None else capture.global_and_fixture_disabled()
    with shown:
        print(f"\n{text}", flush=True)
