"""Shared fixtures and hypothesis profiles."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("fast", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("deep", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HWSIM_HYPOTHESIS", "fast"))

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def shared() -> Path:
    """The folder of optional real inputs beside the checkout; skips when it is not there."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("optional inputs in ../shared/data are not at hand")
    return folder
