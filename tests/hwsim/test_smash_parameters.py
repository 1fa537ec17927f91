"""What the reproduction of SMASH varies, and what it says of what it finds."""

from __future__ import annotations

import pytest

from hwsim.config import PiumaConfig, load_config, replace
from hwsim.reproduce_smash import SmashStudy, favourable, preset_value
from hwsim.reproduce_smash_parameters import (
    PARAMETERS,
    STUDY_CHANGES,
    STUDY_INPUT,
    Parameter,
    changes,
)
from hwsim.reproduce_smash_tasks import load
from hwsim.reproduce_smash_text import reached_sentence
from hwsim.workloads_sparse import load_sparse


def made_up(v1_over_v3, single, together):
    """A study whose ratios are given: nothing ran."""
    outcomes = {}

    def put(key, ratio):
        for kernel, cycles in (("v1", round(1000 * ratio)), ("v2", 2000), ("v3", 1000)):
            outcomes[(*key, kernel)] = {"cycles": cycles, "seconds": 1e-6}

    put(("run", "x"), v1_over_v3)
    put(("base",), v1_over_v3)
    for parameter in PARAMETERS:
        for end in ("low", "high"):
            put(("point", parameter.name, end), single.get((parameter.name, end), v1_over_v3))
    for count in (1, 2, 3, 4, 6, 9):
        put(("search", count), together)
    return SmashStudy(config=load_config("piuma"), outcomes=outcomes, headline="x")


def test_reached_by_the_preset_by_one_unknown_by_several_or_not_at_all():
    assert "is reached with the preset" in reached_sentence(made_up(9.0, {}, 9.0))
    one = made_up(5.0, {("window.token_size", "low"): 8.5}, 8.5)
    assert one.reached["by_one_unknown"] == [
        {"varied": "window.token_size", "value": 1, "speedup_v3_over_v1": 8.5}
    ]
    assert "by one unknown: window.token_size=1 (8.50)" in reached_sentence(one)
    several = made_up(
        5.0, {("window.token_size", "low"): 6.0, ("mesh.hop_cycles", "high"): 5.5}, 8.0
    )
    assert several.reached["by_several"][0]["unknowns"] == "window.token_size=1"
    assert "moved together: window.token_size=1 (8.00)" in reached_sentence(several)
    never = made_up(5.0, {("window.token_size", "low"): 6.5}, 7.0)
    assert never.reached["most_found"] == 7.0
    assert "is not reached anywhere in the ranges; the most is 7.00" in reached_sentence(never)


def test_the_search_takes_the_better_end_and_one_input():
    rows = [
        {"varied": name, "value": value, "speedup_v3_over_v1": ratio}
        for name, value, ratio in (
            ("a", 1, 4.0), ("a", 2, 6.0), ("b", 1, 3.0), ("b", 2, 3.5),
            ("input.a", 1, 5.0), ("input.edges", 4, 7.0), ("c", 1, 4.5),
        )
    ]  # fmt: skip
    found = [(row["varied"], row["value"]) for row in favourable(rows, 4.0)]
    assert found == [("input.edges", 4), ("a", 2), ("c", 1)]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=lambda p: p.name)
def test_the_ends_are_machines_or_inputs_and_hold_the_preset(parameter: Parameter):
    config = load_config("piuma")
    assert isinstance(config, PiumaConfig)
    middle = preset_value(parameter.name, config)
    if parameter.name != "input.permute":
        assert parameter.low <= middle <= parameter.high
        assert parameter.low < parameter.high
    assert parameter.reason
    ends = []
    for value in (parameter.low, parameter.high):
        fields, workload = changes(parameter.name, value, config)
        machine = replace(config, {**STUDY_CHANGES, **fields})
        ends.append((machine.model_dump_json(), workload))
        if parameter.name.startswith("input."):
            assert load_sparse(workload).products[0].m == 2048
    assert ends[0] != ends[1]
    base = replace(config, STUDY_CHANGES).model_dump_json(), STUDY_INPUT
    assert len({*ends, base}) >= 2


def test_a_faster_clock_keeps_the_memory_s_seconds():
    config = load_config("piuma")
    fields, _ = changes("clock_hz", 2e9, config)
    fast = replace(config, fields)
    for one in (config, fast):
        assert one.dram.latency_cycles / one.clock_hz == pytest.approx(90e-9)
        assert one.dram.bytes_per_cycle * one.clock_hz == pytest.approx(281.6e9)
    with pytest.raises(KeyError):
        changes("input.colour", 1, config)


def test_the_stencil_is_nine_points():
    a = load("stencil:side=5").products[0].a
    assert a.shape == (25, 25)
    assert sorted(set(a.row_lengths.tolist())) == [4, 6, 9]
    assert a.nnz == (3 * 5 - 2) ** 2
    assert (a.to_dense() == a.to_dense().T).all()
    layer = load("radix:neurons=1024").products[0].a
    assert set(layer.row_lengths.tolist()) == {32}
