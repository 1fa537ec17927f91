"""The study's order of runs, its table, its verdict and its page, from results made up here."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "train_study.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_study", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def result(method: str, pattern: str, seed: int, accuracy: float, network: str = "cnn") -> dict:
    return {
        "network": network, "method": method, "pattern": pattern, "seed": seed,
        "accuracy": accuracy, "seconds": 10.0 * seed, "parameters": 1234, "torch": "2.9",
        "recipe": {"epochs": 2, "batch": 8, "rate": 0.1, "momentum": 0.9, "weight_decay": 0.0,
                   "warmup": 0.1},
        "curve": [[0.5, 2.0, None], [1.0, 1.0, 0.5], [1.5, 0.7, None], [2.0, 0.5, accuracy]],
    }  # fmt: skip


@pytest.fixture
def out(tmp_path) -> Path:
    """Dense at 0.90 and 0.92; BDWP 2:8 loses 0.5 and 0.1 points; SR-STE has no dense seed 3."""
    found = [
        result("dense", "", 1, 0.90),
        result("dense", "", 2, 0.92),
        result("bdwp", "2:8", 1, 0.895),
        result("bdwp", "2:8", 2, 0.919),
        result("sr_ste", "2:4", 3, 0.8),
    ]
    folder = tmp_path / "out"
    folder.mkdir()
    for r in found:
        name = f"{r['network']}-{r['method']}-{r['pattern'].replace(':', '-')}-seed{r['seed']}.json"
        (folder / name).write_text(json.dumps(r), "utf-8")
    return folder


def test_every_row_of_the_table_has_three_seeds(script):
    plan = script.jobs(["cnn"], 3)
    assert len(plan) == len(set(plan)) == 39
    assert len({job.file for job in plan}) == 39
    rows = {(job.method, job.pattern) for job in plan}
    want = {(m, p) for m in ("sr_ste", "sdgp", "sdwp", "bdwp") for p in ("2:4", "2:8", "2:16")}
    assert rows == want | {("dense", "")}
    assert [job.seed for job in plan] == [1] * 13 + [2] * 13 + [3] * 13
    assert [(job.method, job.pattern) for job in plan[:2]] == [("dense", ""), ("bdwp", "2:8")]


def test_the_whole_table_of_the_cnn_comes_before_everything_else(script):
    plan = script.jobs(list(script.RECIPES), 3)
    assert {job.network for job in plan[:39]} == {"cnn"}
    assert {job.network for job in plan[39:]} == {"cnn_long", "vit"}
    assert [job.seed for job in plan[39:]] == sorted(job.seed for job in plan[39:])
    vit = [job for job in plan if job.network == "vit"]
    assert len(vit) == 21


def test_the_table_pairs_each_loss_with_the_dense_run_of_its_seed(script, out, capsys):
    assert script.main(["--out", str(out), "--report-only"]) == 0
    said = capsys.readouterr().out
    assert "| dense | - | 1, 2 | 91.00 | 1.41 | - | - |" in said
    assert "| bdwp | 2:8 | 1, 2 | 90.70 | 1.70 | 0.30 | 0.28 |" in said
    assert "| sr_ste | 2:4 | 3 | 80.00 | - | - | - |" in said
    assert "over 2 seed(s) is 0.30 points: it meets the target of at most 0.56." in said


def test_a_missed_target_is_said(script, out, capsys):
    worse = result("bdwp", "2:8", 1, 0.88)
    (out / "cnn-bdwp-2-8-seed1.json").write_text(json.dumps(worse), "utf-8")
    script.main(["--out", str(out), "--report-only"])
    assert "is 1.05 points: it misses the target of at most 0.56." in capsys.readouterr().out


def test_the_report_rewrites_the_page_between_its_markers(script, out, tmp_path, capsys):
    docs = tmp_path / "docs"
    docs.mkdir()
    page = docs / "training.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n", "utf-8")
    for _ in range(2):
        assert script.main(["--out", str(out), "--docs", str(docs), "--report-only"]) == 0
        text = page.read_text("utf-8")
        assert text.startswith(f"before\n{script.BEGIN}\n### CNN\n")
        assert text.endswith(f"{script.END}\nafter\n")
        assert "old" not in text
    assert (docs / "images" / "training_cnn.png").stat().st_size > 10_000
    with (docs / "data" / "training.csv").open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 5
    assert [r["accuracy"] for r in rows if r["method"] == "bdwp"] == ["0.8950", "0.9190"]
    with (docs / "data" / "training-curves.csv").open(encoding="utf-8") as handle:
        points = list(csv.DictReader(handle))
    assert len(points) == 20
    assert [p["test_accuracy"] for p in points[:4]] == ["", "0.5000", "", "0.8950"]


def test_a_page_without_markers_and_an_empty_folder_are_refused(script, out, tmp_path, capsys):
    (tmp_path / "training.md").write_text("no markers", "utf-8")
    assert script.main(["--out", str(out), "--docs", str(tmp_path), "--report-only"]) == 2
    assert "must hold the markers" in capsys.readouterr().err
    assert script.main(["--out", str(tmp_path / "none"), "--report-only"]) == 2
    assert "must hold at least one finished run, but there is none" in capsys.readouterr().err
    assert script.main(["--out", str(out)]) == 2
    assert "--data must name the folder of Fashion-MNIST" in capsys.readouterr().err
    assert script.main(["--out", str(out), "--networks", "cnn,gan", "--report-only"]) == 2
    assert capsys.readouterr().err == (
        "error: networks must be of cnn, cnn_long, vit, but got gan\n"
    )


def test_finished_runs_are_skipped_and_files_appear_whole(script, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="the extra train is not installed")
    from hwsim.models import datasets

    monkeypatch.setattr(datasets, "fashion_mnist", lambda folder: None)
    trained = []

    def fake(job, images):
        trained.append(job.file)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return result(job.method, job.pattern, job.seed, 0.9)

    monkeypatch.setattr(script, "run", fake)
    plan = script.jobs(["cnn"], 1)[:4]
    with pytest.raises(KeyboardInterrupt):
        script.study(tmp_path, tmp_path, plan, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(j.file for j in plan[:2])
    script.study(tmp_path, tmp_path, plan, 1)
    assert trained == [job.file for job in [*plan[:3], *plan[2:]]]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(j.file for j in plan)
