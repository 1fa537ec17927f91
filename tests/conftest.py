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


_KERNELS = ("piuma", "spgemm", "rowwise", "delta", "gru", "dal", "training", "sweep")
"""Words in the names of test files that run the same Numba kernels."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, one of them runs a file's tests, and those of the same kernels.

    What Numba compiles is kept on disk, but two workers that come to it at once both compile it.
    RTL tests need no such order: a build is made by one process while others wait for it.
    """
    for item in items:
        room, name = item.path.parent.name, item.path.name
        if room in ("rtl", "levels") or item.get_closest_marker("xdist_group"):
            continue
        group = next((word for word in _KERNELS if word in name), f"{room}/{name}")
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture
def shared() -> Path:
    """The folder of optional real inputs beside the checkout; skips when it is not there."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("optional inputs in ../shared/data are not at hand")
    return folder
