"""The examples in the docstrings of the sparse inputs are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    ["models.sparse", "models.spgemm", "models.rmat", "workloads_sparse"],
)
def test_examples(name):
    outcome = doctest.testmod(importlib.import_module(f"hwsim.{name}"))
    assert outcome.attempted > 0
    assert outcome.failed == 0
