"""The reproduction of SAT's headline: bounds, causes that sum, files, honest parameters."""

from __future__ import annotations

import csv
import json
from fractions import Fraction

import pytest

from hwsim import reproduce_sat as study_module
from hwsim.config import load_config, replace
from hwsim.errors import UserError
from hwsim.models.lowering_training import lower_training
from hwsim.models.zoo import build
from hwsim.reproduce import reproduce
from hwsim.reproduce_parameters import CLASSES, parameters
from hwsim.reproduce_sat import ABLATIONS, NETWORKS, PATTERNS, SENSITIVITY, measure_step, varied
from hwsim.step_causes import CAUSES, split, summarise
from hwsim.training import run_training


def step(name, batch, sparsity, **changes):
    return measure_step(name, batch, replace(load_config("sat"), {"sparsity": sparsity, **changes}))


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("resnet18", (1.47, 1.92, 2.26)),
        ("resnet50", (1.49, 1.96, 2.34)),
        ("vgg19", (1.50, 1.99, 2.39)),
    ],
)
def test_bounds_are_those_derived_from_the_networks_by_hand(name, bounds):
    """MACs of a step, first convolution dense and without BP: the shared table, two decimals."""
    for pattern, bound in zip(PATTERNS, bounds, strict=True):
        assert float(step(name, 1, pattern).bound) == pytest.approx(bound, abs=0.0051)


def test_causes_sum_to_the_cycles_and_to_the_gap():
    for name, pattern in (("resnet9", "2:8"), ("vit_small", "2:16"), ("mobilenet_v2", "2:4")):
        dense, sparse = step(name, 2, "dense"), step(name, 2, pattern)
        for one in (dense, sparse):
            assert sum(one.slots.values()) + one.macs_effective == one.cycles * one.pes
            assert sum(one.stages.values()) == one.cycles
            assert set(one.slots) == set(CAUSES)
            assert min(one.slots.values()) >= 0
        assert dense.bound == 1
        parts = split(dense, sparse)
        assert sum(parts.values()) == sparse.bound - Fraction(dense.cycles, sparse.cycles)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_speedup_stays_below_its_bound(name):
    """Real shapes at a batch of 8; the study's own batches come nearer to the bound."""
    dense = step(name, 8, "dense")
    for pattern in PATTERNS:
        sparse = step(name, 8, pattern)
        assert 1 < dense.cycles / sparse.cycles < sparse.bound


def test_a_dense_method_gains_nothing():
    sparse = step("resnet9", 2, "2:8", method="dense")
    assert sparse.bound == 1
    dense = step("resnet9", 2, "dense", method="dense")
    assert dense.macs_effective == sparse.macs_effective


def test_one_sided_methods_are_bounded_by_half_of_the_gain():
    """SR-STE prunes FF, SDWP and SDGP prune BP: 3 / (2 + N / M) at most."""
    for method in ("sr_ste", "sdwp", "sdgp"):
        assert 1.2 < step("resnet9", 2, "2:8", method=method).bound < 3 / 2.25


@pytest.fixture
def tiny(monkeypatch):
    """The study of two networks of 8 x 8 images, two values of everything."""
    few = {what: (text, values[:2]) for what, (text, values) in SENSITIVITY.items()}
    monkeypatch.setattr(study_module, "NETWORKS", {"digits_cnn": (8, 16), "digits_mlp": (8, 16)})
    monkeypatch.setattr(study_module, "SENSITIVITY", few)


def test_files_of_a_study(tiny, tmp_path):
    ticks = []
    study = reproduce("sat", tmp_path / "out", progress=lambda *tick: ticks.append(tick))
    assert ticks[-1][0] == ticks[-1][1] == len(ticks)
    found = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {"speedup", "gap", "ablation", *(f"sensitivity_{what}" for what in SENSITIVITY)}
    tables = {"networks", "gap", "ablation", "sensitivity", "parameters"}
    assert found == {f"{f}.png" for f in figures} | {f"{t}.csv" for t in tables} | {
        "config.yaml", "summary.json",
    }  # fmt: skip
    assert all((tmp_path / "out" / f"{f}.png").read_bytes()[1:4] == b"PNG" for f in figures)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == json.loads(json.dumps(study.summary))
    rows = list(csv.DictReader((tmp_path / "out" / "gap.csv").read_text().splitlines()))
    assert len(rows) == 2 * len(PATTERNS)
    for row in rows:
        gap = sum(float(row[cause]) for cause in CAUSES)
        assert gap == pytest.approx(float(row["bound"]) - float(row["speedup"]), abs=1e-12)
    assert load_config(tmp_path / "out" / "config.yaml") == load_config("sat")


def test_the_summary_s_keys(tiny):
    study = reproduce("sat")
    summary = study.summary
    assert summary["published"]["average_speedup"] == 1.75
    assert "2309.13015" in summary["published"]["source"]
    speedups = [row["speedup_2_8"] for row in summary["networks"]]
    assert summary["average_speedup"] == sum(speedups) / len(speedups)
    for row in summary["networks"]:
        assert row["speedup_2_8"] == row["cycles_dense"] / row["cycles_2_8"]
        assert {"speedup_2_4", "speedup_2_16", "bound_2_4", "bound_2_16"} < set(row)
        assert sum(row["gap_2_8"].values()) == pytest.approx(row["bound_2_8"] - row["speedup_2_8"])
    assert set(summary["ablation"]) == set(ABLATIONS)
    assert summary["ablation"]["full"] == {
        "average_speedup": summary["average_speedup"], "sparse_slowdown": 1.0,
    }  # fmt: skip
    assert summary["assumptions"]["element_wise_serial"] == summary["average_speedup"]
    assert summary["assumptions"]["element_wise_pipelined"] > summary["average_speedup"]
    assert summary["sensitivity"] == []
    text = "\n".join(study.lines())
    assert "published 1.75" in text
    assert "digits_mlp" in text


def test_every_parameter_has_a_class_and_a_reason():
    config = load_config("sat")
    rows = parameters(config, {name: batch for name, (_, batch) in NETWORKS.items()})
    assert {row["class"] for row in rows} == set(CLASSES)
    assert all(row["reason"] for row in rows)
    named = {row["name"].split(".")[0] for row in rows}
    fields = set(type(config).model_fields) - {"name", "kind", "energy"}  # energy adds no cycle
    assert fields <= named
    for row in rows:
        if row["class"] == "not given":
            assert row["reason"].startswith(("chosen", "as ", "the ")), row


def test_the_preset_is_a_point_of_every_sensitivity():
    config = load_config("sat")
    for what, (_, values) in SENSITIVITY.items():
        machines = [varied(config, what, value) for value in values]
        assert config in machines
        if what != "batch":
            assert len({m.model_dump_json() for m in machines}) == len(values)


def test_interleave_and_latency_are_the_array_s():
    """An os-only array without interleaving waits L steps a pair: the ablation shows it."""
    work = lower_training(build("resnet9", batch=2))
    config = replace(load_config("sat"), {"dataflow": "os", "adder_latency": 4, "interleave": 4})
    full = summarise(run_training(work, config), config)
    alone = replace(config, {"interleave": 1})
    waits = summarise(run_training(work, alone), alone)
    assert waits.slots["array_idle"] > 2 * waits.macs_effective > 2 * full.slots["array_idle"]


def test_unknown_headlines_and_unwritable_folders(tmp_path):
    with pytest.raises(UserError, match=r"^reproduce knows sat, .*but got 'tpu'$"):
        reproduce("tpu")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot make the folder"):
        reproduce("sat", tmp_path / "file")


@pytest.mark.slow
def test_the_headline():
    """Within a tenth of the published average; the difference is explained in the docs."""
    study = reproduce("sat")
    for row in study.summary["networks"]:
        for key in ("2_4", "2_8", "2_16"):
            assert 1 < row[f"speedup_{key}"] < row[f"bound_{key}"]
    assert study.summary["average_speedup"] == pytest.approx(1.75, rel=0.1)
