"""hwsim reproduce delta: laws against oracles, real masks, speech, what the study gives out."""

from __future__ import annotations

import csv
import json
import wave

import numpy as np
import pytest
from networks import find

from hwsim import reproduce_delta as study_module
from hwsim.config import load_config
from hwsim.dataflows.delta_rnn import step_cycles
from hwsim.delta_oracles import STEPS, edgedrnn_rows, eyeriss_rows, headline_row, plain_step
from hwsim.delta_published import DAL_LAYERS, EDGEDRNN_RTL, EYERISS_LAYERS, SPEECH_TABLE
from hwsim.errors import UserError
from hwsim.reproduce import reproduce
from hwsim.reproduce_delta_figures import plot_densities
from hwsim.state_cost import cnn_clip


def reference(shared, name):
    text = (shared / "reference" / name).read_text()
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@pytest.fixture(scope="module")
def edgedrnn():
    return edgedrnn_rows()


def test_edgedrnn_s_law_and_algorithm_agree_on_as_many_nonzeros_as_measured(edgedrnn):
    for row, given in zip(edgedrnn, EDGEDRNN_RTL, strict=True):
        assert row["cycles"] == row["oracle"]
        assert row["nnz"] == given["nnz"]
        items = row["inputs"] + row["hidden"] + 2 * row["hidden"] * (row["layers"] - 1)
        assert row["items"] == items
        # the rest of a step follows from the count; only the waiting depends on positions
        columns = row["nnz"] * 3 * row["hidden"] / 8
        rest = row["layers"] * (5 * row["hidden"] / 8 + 15) - 1
        assert row["cycles"] == pytest.approx(columns + rest + row["waiting"])
        assert 0 <= row["waiting"] <= items
        assert row["waiting_rtl"] + row["waiting_error"] >= 0
        assert abs(row["difference"]) < 0.002, row


def test_edgedrnn_s_steps_differ_but_are_the_same_every_time(edgedrnn):
    assert edgedrnn_rows() == edgedrnn
    assert all(row["steps"] == STEPS for row in edgedrnn)
    assert len({row["cycles"] for row in edgedrnn}) == len(EDGEDRNN_RTL)


def test_edgedrnn_s_headline():
    """535 us were derived for 228 of 2,344 non-zeros; operations are two a multiply-accumulate."""
    row = headline_row()
    assert row["latency_us"] == pytest.approx(535, rel=0.005)
    assert row["latency_us"] == row["cycles"] / 125
    operations = 2 * 3 * 768 * row["items"]
    assert row["effective_gops"] == pytest.approx(1e-3 * operations / row["latency_us"])
    assert row["effective_gops"] == pytest.approx(row["published_effective_gops"], rel=0.01)


def test_the_plain_algorithm_by_hand():
    """Two items, no non-zero: each last item costs 1, from cycles 0 and 2; 5 H / 8 and 15 - 1."""
    nothing = np.zeros(9, bool)
    assert plain_step([(1, 8, nothing)]) == 8 + 1 + 1 + 5 + 14
    last = nothing.copy()
    last[8] = True  # the state's last item: 3 H / 8 in place of 1
    assert plain_step([(1, 8, last)]) == 8 + 1 + 3 + 5 + 14
    full = np.ones(9, bool)
    assert plain_step([(1, 8, full)]) == step_cycles([(1, 8, range(9))])


def test_published_tables_are_those_at_hand(shared):
    for given, row in zip(EDGEDRNN_RTL, reference(shared, "edgedrnn_cycles.csv"), strict=True):
        assert [given[k] for k in ("layers", "inputs", "hidden", "theta", "items")] == [
            int(row[k]) for k in ("layers", "inputs", "hidden", "theta", "items")
        ]
        assert given["nnz"] == float(row["nnz_per_step"])
        assert given["rtl"] == float(row["cycles"])
    for given, row in zip(EYERISS_LAYERS, reference(shared, "eyeriss_v2_cycles.csv"), strict=True):
        assert given["layer"] == row["layer"]
        assert given["published"] == int(row["cycles"])
        assert given["act_density"] == float(row["act_density"])


def test_eyeriss_on_random_masks_counts_pairs():
    for row, given in zip(eyeriss_rows(), EYERISS_LAYERS, strict=True):
        assert row["masks"] == "random"
        assert row["cycles"] == row["oracle"]
        assert row["cycles"] == pytest.approx(row["uniform"], rel=0.03)  # no channel stands out
        assert row["published"] == given["published"] > row["uniform"]


def test_eyeriss_on_real_masks_equals_what_is_published(shared):
    for folder in (shared / "data", shared / "data" / "eyeriss_v2"):
        rows = eyeriss_rows(folder)
        assert [row["cycles"] for row in rows] == [g["published"] for g in EYERISS_LAYERS]
        assert all(row["masks"] == "real" and row["difference"] == 0 for row in rows)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no archive", "must be a .npz file that holds iacts and weights"),
        ({"iacts": np.ones((1024, 64))}, "must be a .npz file that holds iacts and weights"),
        (
            {"iacts": np.ones((1024, 64)), "weights": np.ones((64, 65))},
            r"must hold iacts \(1024, 64\) and weights \(64, 64\), but got .*\(64, 65\)",
        ),
    ],
)
def test_masks_that_cannot_be_used(content, text, tmp_path):
    path = tmp_path / "L07.npz"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.savez(path, **content)
    with pytest.raises(UserError, match=text):
        eyeriss_rows(tmp_path)


@pytest.fixture
def quick(monkeypatch):
    """Few Theta, few quantiser steps, and small frames."""
    monkeypatch.setattr(study_module, "THETAS", (0, 64))
    monkeypatch.setattr(study_module, "STATE_THETAS", (0, 64, 256))
    monkeypatch.setattr(study_module, "CNN_STEPS", (4, 32))
    monkeypatch.setattr(study_module, "cnn_clip", lambda: cnn_clip(frames=3, size=(24, 32)))


def test_keys_files_and_lines(quick, tmp_path):
    find("nsnet2")
    ticks = []
    study = reproduce("delta", tmp_path / "out", progress=lambda *tick: ticks.append(tick))
    assert ticks[-1][0] == ticks[-1][1]
    assert [tick[0] for tick in ticks] == sorted({tick[0] for tick in ticks})
    summary = study.summary
    for row in summary["edgedrnn"]:
        assert {"layers", "inputs", "hidden", "nnz", "cycles", "oracle"} <= set(row)
        assert row["cycles"] == row["oracle"]
    for row in summary["eyeriss_v2"]:
        assert {"layer", "cycles", "oracle"} <= set(row)
        assert row["cycles"] == row["oracle"]
    dense, sparse = summary["nsnet2"]
    assert (dense["theta"], sparse["theta"]) == (0, 64)
    assert dense["sparsity"] < sparse["sparsity"]
    assert dense["cycles_mean"] > 4 * sparse["cycles_mean"]
    assert sparse["cycles_mean"] < sparse["cycles_p95"] < sparse["cycles_p99"]
    assert dense["snr_db"] > sparse["snr_db"] > 25
    assert sparse["speedup"] == sparse["cycles_dense"] / sparse["cycles_mean"]
    assert sparse["published_cycles_p95"] == SPEECH_TABLE[64]["cycles_p95"]
    assert set(DAL_LAYERS) < set(summary["published"]["dal"][0])
    assert {r["workload"] for r in summary["state_cost"]["rows"]} == {"nsnet2", "delta_cnn"}
    folder = tmp_path / "out"
    tables = {"edgedrnn", "eyeriss_v2", "nsnet2", "state_cost", "break_even"}
    figures = {"oracles", "speech", "state_cost", "break_even", "densities"}
    names = {path.name for path in folder.iterdir()}
    assert names >= {f"{t}.csv" for t in tables} | {f"{f}.png" for f in figures} | {
        "config.yaml", "summary.json",
    }  # fmt: skip
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    rows = list(csv.DictReader((folder / "state_cost.csv").read_text().splitlines()))
    assert len(rows) == 4 * 3 + 2 * 2
    assert load_config(folder / "config.yaml") == load_config("edgedrnn")
    text = "\n".join(study.lines())
    assert "speech_example.wav" in text
    assert "random masks of the same densities" in text


def test_recordings_of_one_s_own_follow_the_packages(quick, tmp_path):
    find("nsnet2")
    rng = np.random.default_rng(0)
    for name, seconds in (("a.wav", 0.3), ("b.wav", 0.2)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            samples = rng.integers(-3000, 3000, int(16000 * seconds))
            file.writeframes(samples.astype("<i2").tobytes())
    study = reproduce("delta", data=tmp_path)
    names = [row["recording"] for row in study.summary["nsnet2"]]
    assert names == ["speech_example.wav"] * 2 + [f"2 files of {tmp_path.name}"] * 2
    assert study.summary["nsnet2"][2]["frames"] == (8000 - 320) // 160 + 1


def test_without_the_denoiser_the_rest_is_there(quick, monkeypatch):
    def missing():
        raise ValueError("the network nsnet2 needs the weights")

    monkeypatch.setattr(study_module, "find_nsnet2", missing)
    study = reproduce("delta")
    assert study.summary["nsnet2"] == []
    assert "the speech table is left out: the network nsnet2 needs" in study.summary["notes"][0]
    assert {row["workload"] for row in study.state} == {"delta_cnn"}
    assert "speech.png" not in study.files()


def test_without_its_record_the_study_is_left_out(quick, monkeypatch):
    def missing():
        raise FileNotFoundError

    monkeypatch.setattr(study_module, "study_summary", missing)
    monkeypatch.setattr(study_module, "find_nsnet2", lambda: (_ for _ in ()).throw(ValueError()))
    study = reproduce("delta")
    assert study.summary["dal"] == {}
    assert any("study of delta activations is left out" in note for note in study.notes)


def test_the_recorded_study_stands_beside_the_published_one(quick, monkeypatch):
    record = {
        "task": "made up", "density_ratio": 4.25, "accuracy_baseline": 0.9,
        "accuracy_spatial": 0.88, "accuracy_dal": 0.87, "stages": ["input", "conv1"],
        "density": {"baseline": [1.0, 0.5], "spatial": [1.0, 0.25], "dal": [0.25, 0.1]},
        "operations_skipped": {"baseline": 0.25, "spatial": 0.5, "dal": 0.875},
    }  # fmt: skip
    monkeypatch.setattr(study_module, "study_summary", lambda: record)
    monkeypatch.setattr(study_module, "find_nsnet2", lambda: (_ for _ in ()).throw(ValueError()))
    study = reproduce("delta")
    assert study.summary["dal"] == record
    lines = study.lines()
    assert "  ours      dal      0.870 87.5%" in lines
    assert "  published temporal 0.673 93.1%" in lines
    assert any("4.25" in line and "made up" in line for line in lines)
    left, right = plot_densities(study)
    assert [p.get_height() for p in right.containers[2]] == [0.25, 0.1]
    assert left.containers[2][0].get_height() == 0.1558


def test_bad_folders_are_one_sentence(quick, tmp_path):
    with pytest.raises(UserError, match=r"^data must be a folder, but got .*none$"):
        reproduce("delta", data=tmp_path / "none")
    with pytest.raises(UserError, match=r"^reproduce sat takes no --data, but got"):
        reproduce("sat", data=tmp_path)
    find("nsnet2")
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"x\.wav is not a PCM \.wav file"):
        reproduce("delta", data=tmp_path)
