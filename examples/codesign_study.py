"""The co-design study of docs/codesign-study.md: runs its sweeps, draws its figures, fills it in.

    python examples/codesign_study.py -o out/codesign --docs docs

runs `examples/codesign_resnet18.yaml` and a smaller sweep that changes one buffer at a time, then
writes tables, figures and CSV files into `out/codesign`, with `--docs` into the page, its `images/`
and its `data/` too. It can be stopped at any time; the same command goes on. `--train DATA` trains
the runs that `codesign_accuracy.csv` lacks beforehand (a folder of Fashion-MNIST; needs the extra
`train`). Figures are in `codesign_figures.py`, both needing nothing but the results.
"""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from codesign_figures import study_figures
from codesign_tables import study_tables
from train_study import Job, run

from hwsim.errors import UserError
from hwsim.files import make_folder, write_bytes, write_text
from hwsim.sweep_run import run_sweep
from hwsim.terminal import progress

HERE = Path(__file__).parent
SPEC = HERE / "codesign_resnet18.yaml"
ACCURACY = HERE / "codesign_accuracy.csv"
PAGE = "codesign-study.md"
EXTRA_PATTERNS = ("1:4", "1:8")
"""Patterns that docs/training.md lacks, trained the same way: its CNN, its recipe, its seeds."""
SEEDS = (1, 2, 3)
MIB = 2**20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--workers", type=int, default=1, help="processes; 0 is one a core")
    parser.add_argument("--docs", type=Path, help="also fill in the page in this docs/")
    parser.add_argument("--train", type=Path, metavar="DATA", help="folder of Fashion-MNIST")
    options = parser.parse_args(arguments)
    try:
        if options.train is not None:
            write_text(ACCURACY, accuracy_csv(trained(options.train, options.out)))
        frames = {
            name: sweep(spec, options.out / name, options.workers)
            for name, spec in (("main", load(SPEC)), ("buffers", buffers_spec(load(SPEC))))
        }
        report(frames, options.out, options.docs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def load(path: Path) -> dict[str, Any]:
    """The specification with its tables' files found from anywhere."""
    spec: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    for table in spec["tables"]:
        table["file"] = str(path.parent / table["file"])
    return spec


def buffers_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """The study's second sweep: the preset's array, each buffer on its own, dense and 2:8."""
    side = 32
    sizes = spec["parameters"]["buffers.input_bytes"] | {"factor": 4}
    fixed = {name: [side] for name in ("rows", "cols", "vector_lanes", "sore_lanes", "wuve_lanes")}
    buffers = {f"buffers.{n}_bytes": sizes for n in ("input", "weight", "output")}
    pruned = {"method": ["dense", "bdwp"], "sparsity": ["dense", "2:8"], "group": [1, 8]}
    dram = {name: spec["parameters"][name] for name in ("dram.bytes_per_cycle", "dram.channels")}
    kept = {name: v for name, v in spec["parameters"].items() if len(v) == 1}
    together = [["dram.bytes_per_cycle", "dram.channels"], ["method", "sparsity", "group"]]
    return spec | {"parameters": kept | fixed | buffers | dram | pruned, "together": together}


def sweep(spec: dict[str, Any], folder: Path, workers: int) -> pd.DataFrame:
    """The finished points of a sweep, which goes on where it was stopped."""
    resume = (folder / "sweep.yaml").exists()
    with progress(folder.name) as tick:
        frame = run_sweep(
            spec, folder, workers=workers, resume=resume, progress=tick, figures=False
        )
    failed = frame.loc[frame["status"] != "done", "error"]
    for error, count in Counter(text.partition(" of a product")[0] for text in failed).items():
        print(f"{folder.name}: {count} points: {error}", file=sys.stderr)
    return frame


def trained(data: Path, out: Path) -> list[dict[str, Any]]:
    """Results of the runs with `EXTRA_PATTERNS`, trained where they are missing.

    Raises:
        UserError: PyTorch or the data set is missing.
    """
    import json

    try:
        import torch

        from hwsim.models.datasets import fashion_mnist

        torch.set_num_threads(1)
        images = fashion_mnist(data)
    except (ImportError, ValueError) as error:
        raise UserError(f"--train: {error}") from None
    folder = make_folder(out / "training")
    found = []
    for seed in SEEDS:
        for pattern in EXTRA_PATTERNS:
            job = Job(network="cnn", method="bdwp", pattern=pattern, seed=seed)
            if not (folder / job.file).exists():
                print(f"training {job.file}", file=sys.stderr)
                write_text(folder / job.file, json.dumps(run(job, images), indent=1))
            found.append(json.loads((folder / job.file).read_text("utf-8")))
    return found


def accuracy_csv(extra: Sequence[dict[str, Any]]) -> str:
    """The table of accuracies: docs/data/training.csv, the CNN, dense and BDWP, and `extra`."""
    source = HERE.parent / "docs" / "data" / "training.csv"
    rows: list[dict[str, Any]] = []
    for row in csv.DictReader(io.StringIO(source.read_text("utf-8"))):
        if row["network"] == "cnn" and row["method"] in ("dense", "bdwp"):
            rows.append(row | {"source": "docs/data/training.csv"})
    for result in extra:
        row = {name: str(result[name]) for name in ("network", "method", "pattern", "seed")}
        row["accuracy"] = f"{result['accuracy']:.4f}"
        row["epochs"] = str(result["recipe"]["epochs"])
        rows.append(row | {"source": "examples/codesign_study.py --train"})
    dense = {row["seed"]: float(row["accuracy"]) for row in rows if row["method"] == "dense"}
    order = ["", "2:4", "1:4", "2:8", "1:8", "2:16"]
    rows.sort(key=lambda row: (order.index(row["pattern"]), row["seed"]))
    text = io.StringIO()
    names = ("method", "sparsity", "network", "data", "epochs", "seed", "accuracy", "loss_points")
    writer = csv.DictWriter(text, [*names, "source"], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        loss = 100 * (dense[row["seed"]] - float(row["accuracy"]))
        given = {"sparsity": row["pattern"] or "dense", "data": "Fashion-MNIST"}
        writer.writerow(row | given | {"loss_points": f"{loss:.2f}"})
    return text.getvalue()


def report(frames: dict[str, pd.DataFrame], out: Path, docs: Path | None) -> None:
    """Tables, figures and CSV files from the results, and with `docs` the page.

    Raises:
        UserError: a page without a table's markers, or a folder that cannot be written.
    """
    accuracy = pd.read_csv(ACCURACY)
    done = {name: prepared(frame) for name, frame in frames.items()}
    tables = study_tables(done["main"], done["buffers"], accuracy, len(frames["main"]))
    figures = study_figures(done["main"], done["buffers"], accuracy)
    for name, text in tables.items():
        write_text(out / f"{name}.md", text + "\n")
    for folder in [out, *([docs / "images"] if docs else [])]:
        for name, content in figures.items():
            write_bytes(folder / f"codesign-{name}.png", content)
    for folder in [out, *([docs / "data"] if docs else [])]:
        write_text(folder / "codesign-points.csv", points_csv(done["main"]))
    if docs is not None:
        page = docs / PAGE
        write_text(page, filled(page.read_text("utf-8"), tables))


def prepared(frame: pd.DataFrame) -> pd.DataFrame:
    """The points that are done, with numbers as floats and what their cycles went into.

    Columns `part_*` are shares of the step's cycles that sum to 1: `macs` that were kept, `edges`
    of unit tiles that a layer does not fill, `idle` array, `stall` for DRAM, `fill` (and drain),
    `other`: element-wise passes, update and selector.
    """
    done = frame[frame["status"] == "done"].copy()
    for name in done.columns:
        if pd.api.types.is_numeric_dtype(done[name]) and done[name].dtype != bool:
            done[name] = done[name].astype(float)
    cycles = done["cycles"]
    useful = done["macs_effective"] / done["pes"]
    done["part_macs"] = useful / cycles
    done["part_edges"] = (done["sat.stce.step"] - useful) / cycles
    done["part_idle"] = done["engine.array_idle"] / cycles
    done["part_stall"] = done["engine.stall_dram"] / cycles
    done["part_fill"] = (done["engine.fill"] + done["engine.drain"]) / cycles
    parts = [name for name in done.columns if name.startswith("part_") and name != "part_share"]
    done["part_other"] = 1 - done[parts].sum(axis=1)
    done["traffic_gb"] = (done["dram_read_bytes"] + done["dram_write_bytes"]) / 1e9
    done["bandwidth"] = done["dram.bytes_per_cycle"].map(lambda v: f"{v * 0.2:.1f} GB/s")
    return done


def points_csv(done: pd.DataFrame) -> str:
    """The points of the main sweep, the columns that the page uses, six digits."""
    names = ["sparsity", "rows", "cols", "buffer_mib", "dram.bytes_per_cycle", "cycles"]
    names += ["image_ms", "image_mj", "pes", "loss_points", "traffic_gb"]
    names += [n for n in done.columns if n.startswith(("part_", "area_", "energy_parts_pj."))]
    names += ["pareto"]
    shown = done[list(dict.fromkeys(names))].copy()
    shown["cycles"] = shown["cycles"].astype(np.int64)
    return shown.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with each table between its markers.

    Raises:
        UserError: a table's markers are missing.
    """
    for name, text in tables.items():
        begin, end = f"<!-- {name} begin -->", f"<!-- {name} end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise UserError(f"{PAGE} must hold the markers {begin} and {end}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    sys.exit(main())
