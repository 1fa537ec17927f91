"""The study's plan, headline, table, page and CSV from made-up results; clips kept and checked."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from hwsim.models.datasets import ImageSet

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "delta_study.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("delta_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def row(accuracy: float, nonzeros: list[float]) -> dict:
    return {
        "accuracy": accuracy, "nonzeros": nonzeros, "macs": [10 * n for n in nonzeros],
        "steady": [0.5 * n for n in nonzeros], "density": [n / 1000 for n in nonzeros],
    }  # fmt: skip


def result(method: str, rate: float, seed: int, accuracy: float, nonzeros: list[float]) -> dict:
    rows = {method: row(accuracy, nonzeros)}
    if method == "dal":
        rows["dal, 8-bit integers"] = row(accuracy - 0.01, nonzeros)
    return {
        "method": method, "rate": rate, "seed": seed, "title": "bars over noise", "speed": 0.5,
        "seconds": 7.0, "torch": "2.9", "macs_dense": [4000, 3000, 2000, 1000], "rows": rows,
    }  # fmt: skip


RESULTS = [
    result("relu", 0.0, 1, 0.90, [1000, 500, 400, 100]),
    result("relu", 0.0, 2, 0.92, [1000, 500, 400, 100]),
    result("l1", 0.01, 1, 0.90, [1000, 400, 300, 100]),
    result("l1", 0.05, 1, 0.88, [1000, 300, 200, 100]),  # 2 points lost
    result("l1", 0.05, 2, 0.90, [1000, 300, 200, 100]),
    result("dal", 0.01, 1, 0.89, [200, 100, 60, 40]),
    result("dal", 0.01, 2, 0.89, [200, 100, 60, 40]),  # 1 and 3 points lost
    result("dal", 0.03, 1, 0.83, [100, 50, 30, 20]),  # 7 points lost: too many
    result("dal", 0.03, 2, 0.85, [100, 50, 30, 20]),
]


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    for r in RESULTS:
        name = f"{r['method']}-{r['rate']:g}-seed{r['seed']}.json"
        (folder / name).write_text(json.dumps(r), "utf-8")
    return folder


def test_every_seed_has_every_rate_once(script):
    plan = script.jobs(3)
    assert len({job.file for job in plan}) == len(plan) == 15
    rates = {"relu": (0.0,), "l1": script.L1_RATES, "dal": script.DAL_RATES}
    want = {(method, rate) for method, some in rates.items() for rate in some}
    assert {(j.method, j.rate) for j in plan if j.seed == 2} == want
    assert [j.seed for j in plan] == sorted(j.seed for j in plan)


def test_the_headline_takes_the_highest_rates_within_the_points(script):
    found = script.headline(RESULTS)
    assert (found["rate_spatial"], found["rate_dal"], found["seeds"]) == (0.05, 0.01, [1, 2])
    assert found["accuracy_baseline"] == pytest.approx(0.91)
    assert found["accuracy_dal"] == pytest.approx(0.89)
    assert found["accuracy_spatial"] == pytest.approx(0.89)
    assert found["density_ratio"] == pytest.approx(1600 / 400)
    assert found["hidden_ratio"] == pytest.approx(600 / 200)
    assert found["mac_ratio"] == pytest.approx(4)
    skipped = {"baseline": -1.0, "spatial": -0.6, "dal": 0.6}  # 20,000, 16,000, 4,000 of 10,000
    assert found["operations_skipped"] == pytest.approx(skipped)
    assert found["density"]["dal"] == pytest.approx([0.2, 0.1, 0.06, 0.04])
    assert script.headline([r for r in RESULTS if r["method"] != "l1"]) is None


def test_the_verdict_says_meets_or_misses(script):
    assert "4.00 times fewer non-zeros than L1 over all layers' inputs: it meets" in (
        script.verdict(RESULTS)
    )
    dense = [r if r["method"] != "dal" else result("dal", r["rate"], r["seed"], 0.9, [700] * 4)
             for r in RESULTS]  # fmt: skip
    assert "it misses the target of 3" in script.verdict(dense)
    assert "yet" in script.verdict(RESULTS[:2])


def test_the_page_gets_table_and_picture_and_keeps_its_text(script, out, tmp_path, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "delta-training.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n", "utf-8")
    assert script.main(["--out", str(out), "--docs", str(docs), "--report-only"]) == 0
    text = page.read_text("utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    line = next(found for found in text.splitlines() if found.startswith("| dal, rate 0.01 "))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells == ["dal, rate 0.01", "1, 2", "89.00", "0.00", "0.200", "0.100", "0.060", "0.040",
                     "400", "0", "4,000", "40.0"]  # fmt: skip
    assert (docs / "images" / "delta_training.png").stat().st_size > 10_000
    with (docs / "data" / "delta-training.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(RESULTS) + 4  # every delta network has its integers too
    assert rows[0]["network"] == "relu"
    assert float(rows[0]["nonzeros_steady"]) == 1000.0
    assert "meets the target" in capsys.readouterr().out


def test_the_summary_is_the_headline(script, out, tmp_path):
    script.main(["--out", str(out), "--report-only", "--summary", str(tmp_path)])
    kept = json.loads((tmp_path / "delta_study.json").read_text("utf-8"))
    assert kept["density_ratio"] == pytest.approx(4)
    assert kept["task"] == "bars over noise"


def test_nothing_to_report_is_told(script, tmp_path, capsys):
    assert script.main(["--out", str(tmp_path), "--report-only"]) == 2
    assert "at least one finished run" in capsys.readouterr().err


def test_a_video_is_halved_by_means(script):
    video = np.arange(2 * 300 * 402, dtype=np.int64).reshape(2, 300, 402) % 250
    small = script.shrunk(video.astype(np.uint8))
    assert small.shape == (2, 150, 201)
    assert small[1, 2, 3] == np.rint(video[1, 4:6, 6:8].mean())


def bars() -> ImageSet:
    images = np.zeros((2, 4, 4), np.uint8)
    images[0, :, :2], images[1, :2] = 255, 255
    return ImageSet("bars", images, np.arange(2), images, np.arange(2))


def test_a_run_end_to_end_and_its_weights(script, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch", reason="the extra train is not installed")
    threads = torch.get_num_threads()
    for name, value in {"TRAIN_CLIPS": 48, "TRAIN_STEPS": 3, "TEST_CLIPS": 12, "TEST_STEPS": 3,
                        "L1_RATES": (1e-2,), "DAL_RATES": (1e-2,), "TARGET_POINTS": 100.0,
                        "BASE": {"epochs": 1}, "TUNE": {"epochs": 1}}.items():  # fmt: skip
        monkeypatch.setattr(script, name, value)
    plan = script.jobs(1)
    script.study(bars(), None, tmp_path, plan, 1)
    torch.set_num_threads(threads)
    dal = json.loads((tmp_path / "dal-0.01-seed1.json").read_text("utf-8"))
    assert set(dal["rows"]) == {"dal", "dal, 8-bit integers"}
    # 3 x 3 taps inside a side of n: 3 n - 2
    assert dal["macs_dense"] == [94**2 * 8, 46**2 * 8 * 16, 22**2 * 16 * 16, 256 * 10]
    relu = json.loads((tmp_path / "relu-0-seed1.json").read_text("utf-8"))
    rows = relu["rows"]
    assert rows["relu, 30 % largest"]["density"][1] <= 0.3 + 1e-3
    assert rows["relu, 2:8 channels"]["density"][1] <= 0.25
    assert rows["relu, deltas of 8-bit codes"]["nonzeros"][0] <= 1024
    before = (tmp_path / "dal-0.01-seed1.json").stat().st_mtime_ns
    script.study(bars(), None, tmp_path, plan, 1)  # nothing left to do
    assert (tmp_path / "dal-0.01-seed1.json").stat().st_mtime_ns == before
    script.keep_weights(tmp_path, tmp_path)
    from hwsim.models.delta_cnn import unpack

    with np.load(tmp_path / "delta_cnn.npz") as stored:
        encoder, layers = unpack(dict(stored))
    assert [len(layer.weight) for layer in layers] == [8, 16, 16, 10]
    assert encoder.multiplier > 0
    with pytest.raises(ValueError, match="must hold clips of"):
        script.clips(ImageSet("other", *[None] * 4), None, tmp_path)
