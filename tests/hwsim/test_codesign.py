"""The co-design study: its space, its table of accuracies, its arithmetic, and that it still holds.

Its scripts are in `examples`; what they find is in docs/codesign-study.md.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hwsim.api import simulate
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.sweep_points import Maker
from hwsim.sweep_run import run_sweep
from hwsim.sweep_spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
SPEC = EXAMPLES / "codesign_resnet18.yaml"
NAMES = ("codesign_study", "codesign_tables", "codesign_figures", "train_study")


@pytest.fixture(scope="module")
def study():
    """The script, and under `tables` the module that makes its tables."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        import codesign_study
        import codesign_tables

        codesign_study.tables = codesign_tables
        yield codesign_study
    finally:
        sys.path.remove(str(EXAMPLES))
        for name in NAMES:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def small(study, tmp_path_factory):
    """The study's points on its largest array with its largest buffers."""
    spec = study.load(SPEC)
    for name in spec["parameters"]:
        if name in ("rows", "cols") or name.endswith("_lanes"):
            spec["parameters"][name] = [64]
        elif name.endswith("_bytes"):
            spec["parameters"][name] = [2097152]
    frame = run_sweep(spec, tmp_path_factory.mktemp("study"), workers=1)
    return study.prepared(frame)


def test_the_space_has_its_points_and_every_one_an_accuracy():
    spec = load_spec(SPEC)
    maker = Maker(spec)
    settings = list(maker.space.grid())
    assert len(settings) == 5 * 5 * 5 * 3 * 6 >= 1000
    for values in settings[:6]:
        (point,) = maker.points(values)
        assert point.status == ""
        assert point.design["loss_points"] >= 0
    assert {v["sparsity"] for v in settings[:6]} == {"dense", "2:4", "1:4", "2:8", "1:8", "2:16"}


def test_the_accuracies_are_those_of_the_training_study(study):
    rows = list(csv.DictReader(io.StringIO(study.ACCURACY.read_text())))
    trained = {
        (r["method"], r["pattern"] or "dense", r["seed"]): float(r["accuracy"])
        for r in csv.DictReader(io.StringIO((ROOT / "docs/data/training.csv").read_text()))
        if r["network"] == "cnn"
    }
    for row in rows:
        key = (row["method"], row["sparsity"], row["seed"])
        if row["source"] == "docs/data/training.csv":
            assert float(row["accuracy"]) == trained[key]
        dense = trained["dense", "dense", row["seed"]]
        assert float(row["loss_points"]) == pytest.approx(100 * (dense - float(row["accuracy"])))
    extra = [
        {"network": r["network"], "method": r["method"], "pattern": r["sparsity"],
         "seed": int(r["seed"]), "accuracy": float(r["accuracy"]), "recipe": {"epochs": 3}}
        for r in rows if r["sparsity"] in study.EXTRA_PATTERNS
    ]  # fmt: skip
    for pattern in study.EXTRA_PATTERNS:
        assert {1, 2} <= {e["seed"] for e in extra if e["pattern"] == pattern} <= set(study.SEEDS)
    assert study.accuracy_csv(extra) == study.ACCURACY.read_text()


def test_the_parts_of_a_step_are_all_of_it(small):
    parts = small[[name for name in small.columns if name.startswith("part_")]]
    parts = parts.drop(columns="part_share", errors="ignore")
    assert parts.shape == (18, 6)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(np.ones(18))
    assert (parts.to_numpy() >= 0).all()


def test_speedups_are_over_the_dense_point_beside(study, small):
    gain = study.tables.speedups(small)
    for _, row in small.iterrows():
        same = small[small["dram.bytes_per_cycle"] == row["dram.bytes_per_cycle"]]
        dense = same.loc[same["sparsity"] == "dense", "image_ms"].item()
        assert gain[row.name] == pytest.approx(dense / row["image_ms"])
        assert gain[row.name] <= row["macs_dense"] / row["macs_effective"]  # its bound


@pytest.mark.parametrize(
    "overrides", [("energy.source=preset",), ("energy.node_nm=16", "energy.dram_kind=hbm2")]
)
def test_other_energies_are_those_of_another_simulation(study, small, overrides):
    point = small[(small["sparsity"] == "2:8") & (small["dram.bytes_per_cycle"] == 384.0)]
    fields = ["rows", "cols", "vector_lanes", "sore_lanes", "wuve_lanes"]
    settings = ["energy.source=table", *overrides, *(f"{name}=64" for name in fields)]
    result = simulate("resnet18", "sat", overrides=settings, phase="training", batch=32)
    scaled = study.tables.scaled(small, overrides).loc[point.index]
    assert point["cycles"].item() == result.summary["cycles"]
    assert scaled["energy_pj"].item() == pytest.approx(result.summary["energy_pj"], rel=1e-12)
    assert point["energy_pj"].item() != pytest.approx(result.summary["energy_pj"], rel=0.01)


def test_the_knee_of_a_front(study):
    # 1/x up to 8, flat from there; (8, 40) and (16, 90) are not on the front
    frame = pd.DataFrame(
        {"pes": [1.0, 2, 4, 8, 8, 16, 64], "image_ms": [80.0, 40, 20, 10, 40, 90, 9]}
    )
    found = study.tables.knee(frame, "pes")
    assert (found["pes"], found["image_ms"]) == (8, 10)
    # the line from (1, 80) to (64, 9) is at 80 (9/80)^(1/2) over 8
    assert found["bend"] == pytest.approx(80 * (9 / 80) ** 0.5 / 10)
    straight = frame[frame["image_ms"] * frame["pes"] == 80]
    assert study.tables.knee(straight, "pes")["bend"] == pytest.approx(1)


def test_a_page_is_filled_between_its_markers(study):
    page = "a\n<!-- x begin -->\nold\n<!-- x end -->\nb\n"
    new = study.filled(page, {"x": "new"})
    assert new == "a\n<!-- x begin -->\nnew\n<!-- x end -->\nb\n"
    assert study.filled(new, {"x": "new"}) == new
    with pytest.raises(UserError, match=r"must hold the markers <!-- y begin --> and <!-- y end"):
        study.filled(page, {"y": "new"})


def test_the_second_sweep_changes_each_buffer(study):
    spec = load_spec(study.buffers_spec(study.load(SPEC)))
    settings = list(Maker(spec).space.grid())
    assert len(settings) == 3**3 * 3 * 2
    assert {v["rows"] for v in settings} == {32}
    assert {v["energy.source"] for v in settings} == {"table"}


def test_the_numbers_on_the_page_still_hold(study):
    """Points of docs/data/codesign-points.csv, simulated again; the study rewrites the file."""
    points = pd.read_csv(ROOT / "docs/data/codesign-points.csv")
    assert len(points) > 2000
    base = load_config("sat")
    for pattern, width, channels in (("2:8", 384.0, 4), ("2:16", 96.0, 1)):
        row = study.tables.at(points, side=32, buffers=6.0, width=width, sparsity=pattern)
        settings = [f"sparsity={pattern}", f"group={pattern[2:]}", f"dram.channels={channels}"]
        settings += [f"dram.bytes_per_cycle={width}", "energy.source=table"]
        result = simulate("resnet18", "sat", overrides=settings, phase="training", batch=32)
        assert row["cycles"].item() == result.summary["cycles"]
        assert row["image_ms"].item() == pytest.approx(result.summary["seconds"] * 1e3 / 32, 1e-5)
        assert row["image_mj"].item() == pytest.approx(
            result.summary["energy_pj"] * 1e-9 / 32, 1e-5
        )
    assert (base.rows, base.cols, base.buffers.input_bytes) == (32, 32, 2097152)
