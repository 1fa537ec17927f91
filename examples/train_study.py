"""The accuracy study of N:M sparse training on Fashion-MNIST; fills docs/training.md.

    python examples/train_study.py --data /usr/share/datasets/fashion-mnist --out out/training

trains every network, method, pattern and seed that has no result in the folder yet, the runs that
matter most first, and then writes the tables, the learning curves and the CSV files. A run is one
JSON file, so the study can be stopped and started again at any time. `--report-only` writes the
tables and figures of whatever is finished. Needs the extra `train` (PyTorch).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hwsim.files import write_text

BEGIN, END = "<!-- study begin -->", "<!-- study end -->"
METHODS = ("sr_ste", "sdgp", "sdwp", "bdwp")
PATTERNS = ("2:4", "2:8", "2:16")
TARGET = ("bdwp", "2:8", 0.56)  # points of loss: the paper's average at 2:8
TITLES = {"cnn": "CNN", "cnn_long": "CNN, long schedule", "vit": "ViT"}
COLOURS = {"dense": "0.2", "sr_ste": "C0", "sdgp": "C1", "sdwp": "C2", "bdwp": "C3"}
STYLES = {"": "-", "2:4": ":", "2:8": "-", "2:16": "--"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training run."""

    network: str
    method: str
    pattern: str
    seed: int

    @property
    def file(self) -> str:
        pattern = f"-{self.pattern.replace(':', '-')}" if self.pattern else ""
        return f"{self.network}-{self.method}{pattern}-seed{self.seed}.json"


# Not given by the paper for this data: chosen by short runs at seed 1, and so that the CNN's whole
# table takes about an hour of one CPU core.
RECIPES: dict[str, dict[str, Any]] = {
    "cnn": {"epochs": 3, "batch": 128, "rate": 0.1, "weight_decay": 5e-4},
    "cnn_long": {"epochs": 10, "batch": 128, "rate": 0.1, "weight_decay": 5e-4},
    "vit": {"epochs": 3, "batch": 128, "rate": 0.1, "weight_decay": 1e-4},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is missing, then write the report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's four idx files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--docs", type=Path, help="also write tables and figures into this docs/")
    parser.add_argument(
        "--networks", default=",".join(RECIPES), help="of these, separated by commas"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to this")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    options = parser.parse_args(arguments)
    networks = options.networks.split(",")
    try:
        if unknown := set(networks) - set(RECIPES):
            raise ValueError(
                f"networks must be of {', '.join(RECIPES)}, but got {', '.join(sorted(unknown))}"
            )
        options.out.mkdir(parents=True, exist_ok=True)
        if not options.report_only:
            if options.data is None:
                raise ValueError(
                    "--data must name the folder of Fashion-MNIST unless --report-only"
                )
            study(options.data, options.out, jobs(networks, options.seeds), options.threads)
        report(options.out, options.docs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def jobs(networks: Iterable[str], seeds: int) -> list[Job]:
    """Every run, in the order in which a study that is cut short is worth most.

    The CNN's whole table comes first, then the others seed after seed; in a seed, dense and BDWP
    at 2:8 first. The long schedule has only these two, the ViT every pattern of BDWP and 2:8 of
    the other methods.
    """
    others = [method for method in METHODS if method != "bdwp"]
    headline = [("dense", ""), ("bdwp", "2:8")]
    bdwp = [("bdwp", "2:4"), ("bdwp", "2:16")]
    plans = {
        "cnn": [*headline, *bdwp, *((m, p) for p in ("2:8", "2:4", "2:16") for m in others)],
        "cnn_long": headline,
        "vit": [*headline, *((m, "2:8") for m in others), *bdwp],
    }
    chosen = [name for name in RECIPES if name in networks]
    turns = [(seed, name) for seed in range(1, seeds + 1) for name in chosen]
    turns.sort(key=lambda turn: turn[1] != "cnn")
    return [
        Job(network=name, method=method, pattern=pattern, seed=seed)
        for seed, name in turns
        for method, pattern in plans[name]
    ]


def study(data: Path, out: Path, plan: Sequence[Job], threads: int) -> None:
    """Train every job without a result file; a run's file appears whole or not at all."""
    try:
        import torch
    except ImportError:
        raise ValueError("training needs PyTorch: pip install 'hwsim[train]'") from None
    from hwsim.models.datasets import fashion_mnist

    torch.set_num_threads(threads)
    images = fashion_mnist(data)
    started = time.perf_counter()
    for number, job in enumerate(plan, 1):
        if (out / job.file).exists():
            continue
        result = run(job, images)
        write_text(out / job.file, json.dumps(result, indent=1))
        minutes = (time.perf_counter() - started) / 60
        print(
            f"[{number}/{len(plan)}] {job.file}: accuracy {100 * result['accuracy']:.2f} % in "
            f"{result['seconds']:.0f} s; {minutes:.1f} min so far",
            file=sys.stderr,
            flush=True,
        )


def run(job: Job, images: Any) -> dict[str, Any]:
    """Train one network; what its result file holds."""
    import torch

    from hwsim.models.nm import parse_pattern
    from hwsim.models.train_layers import Sparsity, sparsify
    from hwsim.models.train_nets import TinyViT, cnn
    from hwsim.models.train_torch import Recipe, train

    torch.manual_seed(job.seed)  # the same initial weights for every method of a seed
    network = TinyViT() if job.network == "vit" else cnn()
    sparsity = Sparsity(method=job.method, pattern=parse_pattern(job.pattern or "dense"))
    pruner = sparsify(network, sparsity)
    recipe = Recipe(**RECIPES[job.network])
    done = train(network, pruner, images, recipe, seed=job.seed, points=4)
    return {
        **asdict(job),
        "accuracy": done.accuracy,
        "seconds": done.seconds,
        "parameters": sum(p.numel() for p in network.parameters()),
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "curve": [
            [point.epoch, point.loss, None if point.accuracy != point.accuracy else point.accuracy]
            for point in done.curve
        ],
    }


def report(out: Path, docs: Path | None) -> None:
    """Tables on stdout, `training.csv`, `training-curves.csv` and a figure a network in `out`;
    with `docs` also in its page, `images/` and `data/`.

    Raises:
        ValueError: no finished run.
    """
    results = [json.loads(path.read_text("utf-8")) for path in sorted(out.glob("*-seed*.json"))]
    if not results:
        raise ValueError(f"{out} must hold at least one finished run, but there is none")
    text = "\n\n".join(
        section(network, [r for r in results if r["network"] == network])
        for network in RECIPES
        if any(r["network"] == network for r in results)
    )
    print(text)
    data, images = (docs / "data", docs / "images") if docs else (out, out)
    data.mkdir(exist_ok=True)
    images.mkdir(exist_ok=True)
    write_csv(data, results)
    for network in RECIPES:
        chosen = [r for r in results if r["network"] == network]
        if chosen:
            plot(chosen, images / f"training_{network}.png")
    if docs:
        page = docs / "training.md"
        before, begin, rest = page.read_text("utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"{page} must hold the markers {BEGIN} and {END}")
        write_text(page, f"{before}{BEGIN}\n{text}\n{END}{after}")


def section(network: str, results: Sequence[dict[str, Any]]) -> str:
    """The table of a network in Markdown, the verdict on the target and the recipe."""
    dense = {r["seed"]: r["accuracy"] for r in results if r["method"] == "dense"}
    recipe, some = results[0]["recipe"], results[0]
    lines = [
        f"### {TITLES[network]}",
        "",
        f"{some['parameters']:,} parameters; {recipe['epochs']} epochs of 60,000 images, batch "
        f"{recipe['batch']}, highest learning rate {recipe['rate']}, momentum "
        f"{recipe['momentum']}, weight decay {recipe['weight_decay']}; PyTorch {some['torch']}; "
        f"{statistics.mean(r['seconds'] for r in results):.0f} CPU seconds a run.",
        "",
        "| method | pattern | seeds | accuracy, % | spread | loss against dense, points | spread |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, pattern in [("dense", ""), *((m, p) for m in METHODS for p in PATTERNS)]:
        runs = {r["seed"]: r for r in results if (r["method"], r["pattern"]) == (method, pattern)}
        if not runs:
            continue
        points = [100 * r["accuracy"] for r in runs.values()]
        losses = [100 * (dense[s] - runs[s]["accuracy"]) for s in runs if s in dense]
        cells = [method, pattern or "-", ", ".join(map(str, sorted(runs))), *mean_spread(points)]
        cells += mean_spread(losses) if method != "dense" else ["-", "-"]
        lines.append(f"| {' | '.join(cells)} |")
    image = f"![learning curves, {TITLES[network]}](images/training_{network}.png)"
    return "\n".join([*lines, "", verdict(results, dense), "", image])


def verdict(results: Sequence[dict[str, Any]], dense: dict[int, float]) -> str:
    """One sentence: does BDWP at 2:8 lose at most the paper's average?"""
    method, pattern, limit = TARGET
    losses = [
        100 * (dense[r["seed"]] - r["accuracy"])
        for r in results
        if (r["method"], r["pattern"]) == (method, pattern) and r["seed"] in dense
    ]
    if not losses:
        return f"No run of {method} at {pattern} beside its dense one is finished yet."
    mean = statistics.mean(losses)
    met = "meets" if mean <= limit else "misses"
    return (
        f"The mean loss of {method} at {pattern} over {len(losses)} seed(s) is {mean:.2f} points: "
        f"it {met} the target of at most {limit}."
    )


def mean_spread(values: Sequence[float]) -> list[str]:
    """Mean and sample standard deviation as cells."""
    if not values:
        return ["-", "-"]
    spread = f"{statistics.stdev(values):.2f}" if len(values) > 1 else "-"
    return [f"{statistics.mean(values):.2f}", spread]


def write_csv(folder: Path, results: Sequence[dict[str, Any]]) -> None:
    """`training.csv`, a row a run, and `training-curves.csv`, a row a point."""
    keys = ["network", "method", "pattern", "seed"]
    ordered = sorted(results, key=lambda r: [r[key] for key in keys])
    with (folder / "training.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([*keys, "accuracy", "seconds", "epochs", "parameters"])
        for r in ordered:
            figures = [f"{r['accuracy']:.4f}", f"{r['seconds']:.1f}", r["recipe"]["epochs"]]
            writer.writerow([*(r[key] for key in keys), *figures, r["parameters"]])
    with (folder / "training-curves.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow([*keys, "epoch", "training_loss", "test_accuracy"])
        for r in ordered:
            for epoch, loss, accuracy in r["curve"]:
                shown = "" if accuracy is None else f"{accuracy:.4f}"
                writer.writerow([*(r[key] for key in keys), f"{epoch:.3f}", f"{loss:.4f}", shown])


def plot(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Learning curves, means over seeds: training loss and test accuracy against epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for method, pattern in [("dense", ""), *((m, p) for m in METHODS for p in PATTERNS)]:
        curves = [r["curve"] for r in results if (r["method"], r["pattern"]) == (method, pattern)]
        if not curves:
            continue
        look = {"color": COLOURS[method], "linestyle": STYLES[pattern], "linewidth": 1.4}
        label = f"{method} {pattern}".strip()
        epochs = [point[0] for point in curves[0]]
        left.plot(epochs, [statistics.mean(c[i][1] for c in curves) for i in range(len(epochs))],
                  label=label, **look)  # fmt: skip
        tested = [i for i in range(len(epochs)) if curves[0][i][2] is not None]
        means = [100 * statistics.mean(c[i][2] for c in curves) for i in tested]
        right.plot([epochs[i] for i in tested], means, marker=".", **look)
    left.set(xlabel="epochs", ylabel="training loss", yscale="log")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
    right.set(xlabel="epochs", ylabel="test accuracy, %")
    figure.legend(loc="outside right center", fontsize="small", frameon=False)
    figure.suptitle(f"{TITLES[results[0]['network']]} on Fashion-MNIST, mean over seeds")
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    sys.exit(main())
