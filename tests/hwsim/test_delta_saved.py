"""A stream's result read back: the report draws what the run drew, spoilt files are a sentence."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.delta_result import FIGURE_NAMES, DeltaResult
from hwsim.engine_edgedrnn import LayerStream, gru_run
from hwsim.errors import UserError
from hwsim.html import write_report
from hwsim.saved import load_result


@pytest.fixture
def result():
    """Two layers over 50 frames, a third of the items at random."""
    config = load_config("edgedrnn")
    rng = np.random.default_rng(3)
    masks = rng.random((2, 50, 40)) < 0.3
    layers = [LayerStream(24, 16, mask, np.zeros((50, 16)), 0) for mask in masks]
    runs = [gru_run(f"gru{i}", x, config, first=i == 0) for i, x in enumerate(layers)]
    return DeltaResult(
        workload="noise", config=config, runs=tuple(runs), frames=50, rate_hz=100.0,
        dense_cycles=50 * 1000, quality={"theta": 64, "snr_db": 12.5}, notes=("made up",),
    )  # fmt: skip


def test_files_read_back_and_the_report_draws_the_same(result, tmp_path):
    result.write(tmp_path / "run")
    saved = load_result(tmp_path / "run")
    assert saved.summary == result.summary
    assert saved.config == result.config
    assert saved.frame_cycles.tolist() == result.frame_cycles.tolist()
    assert (saved.workload, saved.frames, saved.rate_hz) == ("noise", 50, 100.0)
    assert saved.dense_cycles == 50000
    for mine, theirs in zip(saved.rows, result.rows, strict=True):
        assert mine == {name: theirs[name] for name in mine}
        cycles = sum(v for name, v in mine.items() if name.startswith("cycles_"))
        energy = sum(v for name, v in mine.items() if name[-3:] == "_pj" and name != "energy_pj")
        assert (cycles, energy) == (theirs["cycles"], theirs["energy_pj"])
    result.write(tmp_path / "bare", figures=False)
    page = write_report(tmp_path / "bare").read_text()
    assert page.count("data:image/png;base64,") == len(FIGURE_NAMES)
    assert "made up" in page
    assert "<dt>snr_db</dt><dd>12.5</dd>" in page
    for name in FIGURE_NAMES:
        for kind in ("png", "svg"):
            file = f"{name}.{kind}"
            assert (tmp_path / "bare" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


@pytest.mark.parametrize(
    ("name", "old", "new", "text"),
    [
        ("summary.json", '"latency"', '"late"', "must have the key latency"),
        ("layers.csv", "cycles_scan", "cycles_skim", "must have the column cycles_scan"),
        ("layers.csv", "energy_mac_pj", "energy_pj", "must have the column energy_mac_pj"),
        ("layers.csv", "{energy}", "1.o", "energy_pj must be a number in line 2, but got"),
        ("frames.csv", "\n0,", "\n0,x", "cycles must be an integer in line 2, but got 'x"),
        ("frames.csv", "\n49,", "\n49\n", "cycles must be an integer in line 51, but got None"),
        ("summary.json", '"frames": 50', '"frames": 51', "a line for each of the 51 frames"),
    ],
)
def test_spoilt_files_are_one_sentence(name, old, new, text, result, tmp_path):
    result.write(tmp_path, figures=False)
    path = tmp_path / name
    whole = path.read_text()
    old = old.replace("{energy}", str(result.layers["energy_pj"].iloc[0]))
    assert old in whole
    path.write_text(whole.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        write_report(tmp_path)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_table_that_is_not_there(result, tmp_path):
    result.write(tmp_path, figures=False)
    (tmp_path / "frames.csv").unlink()
    with pytest.raises(UserError, match=r"^cannot read .*frames\.csv: No such file"):
        write_report(tmp_path)
