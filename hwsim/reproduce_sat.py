"""The 1.75x of SAT: speedup of N:M training over dense training on the same array, explained.

A training step of each network is simulated dense and at 2:4, 2:8 and 2:16, and what lies between a
speedup and its bound is split by cause (`hwsim.step_causes`).

Nothing here is fitted to the published figure. Parameters that the paper does not give are those of
the preset, each with its reason; batches and resolutions are the networks' own published recipes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from hwsim.config import ArrayConfig, SatConfig, dump_config, load_config, replace
from hwsim.models.lowering_training import lower_training
from hwsim.models.work import Vector, Work
from hwsim.models.zoo import build
from hwsim.reproduce import table
from hwsim.reproduce_parameters import parameters
from hwsim.step_causes import CAUSES, Step, split, summarise
from hwsim.training import run_training

__all__ = ["ABLATIONS", "ASSUMPTIONS", "NETWORKS", "SENSITIVITY", "Study", "reproduce_sat"]

PUBLISHED: dict[str, Any] = {
    "average_speedup": 1.75,
    "pattern": "2:8",
    "source": "Fang et al., arXiv 2309.13015 (TCAD 2023, DOI 10.1109/TCAD.2023.3317789), abstract",
}

PATTERNS = ("2:4", "2:8", "2:16")

NETWORKS = {
    "resnet9": (32, 128),
    "vgg19": (32, 128),
    "resnet18": (224, 256),
    "resnet50": (224, 256),
    "vit_small": (224, 256),
}
"""Resolution and batch. The paper's batches are not given here; chosen as the mini-batches of
arXiv 1512.03385 for CIFAR (128) and ImageNet (256), the usual ones of these networks."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_interleave": {"interleave": 1},
    "no_pregeneration": {"pregeneration": False},
    "only_os": {"dataflow": "os"},
    "only_ws": {"dataflow": "ws"},
    "os_no_interleave": {"dataflow": "os", "interleave": 1},
    "none": {"dataflow": "os", "interleave": 1, "pregeneration": False},
}
"""The three optimisations of the dataflow, one at a time, then together: weight stationary needs no
interleaving, so scheduling hides what interleaving is worth."""

SENSITIVITY: dict[str, tuple[str, Sequence[float]]] = {
    "dram": ("DRAM bandwidth, bytes a cycle", (12, 24, 48, 96, 192, 384, 768)),
    "array": ("rows and columns, with a vector lane a column", (8, 16, 32, 64, 128)),
    "batch": ("images of a batch", (1, 4, 16, 64, 256, 1024)),
    "buffers": ("on-chip buffers, MiB in all", (0.1875, 0.375, 0.75, 1.5, 3, 6, 12)),
    "adder_latency": ("adder latency, steps, interleave as in the preset", (1, 2, 4, 6, 8)),
    "interleave": ("interleave, adder latency as in the preset", (1, 2, 4, 8)),
    "vector_lanes": ("vector lanes", (8, 16, 32, 64, 128)),
}
"""What is varied, and the values; the preset's is among them."""

ASSUMPTIONS = {
    "element_wise_serial": "a lane takes an operation a cycle, as in inference",
    "element_wise_pipelined": "a lane takes an element a cycle, whatever a pass computes on it",
    "element_wise_free": "no element-wise passes",
}
"""The choice that the result depends on most: what element-wise passes cost. The first is used."""

Progress = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Study:
    """The reproduced headline.

    Attributes:
        config: the machine, at 2:8.
        steps: by network and pattern, `dense` among them.
        ablation: average speedups and slowdowns by what is switched off.
        assumptions: average speedups by what element-wise passes are taken to cost.
        sensitivity: rows of (varied, value, average speedup, step: cycles an image of the 2:8 step
            over those of the preset, each network's speedup); empty if not asked for.
    """

    config: SatConfig
    steps: Mapping[str, Mapping[str, Step]]
    ablation: Mapping[str, Mapping[str, float]]
    assumptions: Mapping[str, float]
    sensitivity: Sequence[Mapping[str, Any]]

    @property
    def average_speedup(self) -> float:
        """Arithmetic mean over the networks at 2:8."""
        return _mean([row["speedup_2_8"] for row in self.networks])

    @cached_property
    def networks(self) -> list[dict[str, Any]]:
        """One row a network."""
        rows = []
        for name, steps in self.steps.items():
            resolution, batch = NETWORKS[name]
            row: dict[str, Any] = {"name": name, "resolution": resolution, "batch": batch}
            row["cycles_dense"] = steps["dense"].cycles
            for pattern in PATTERNS:
                key = pattern.replace(":", "_")
                row[f"cycles_{key}"] = steps[pattern].cycles
                row[f"speedup_{key}"] = steps["dense"].cycles / steps[pattern].cycles
                row[f"bound_{key}"] = float(steps[pattern].bound)
            rows.append(row)
        return rows

    @cached_property
    def gaps(self) -> list[dict[str, Any]]:
        """One row a network and pattern: bound, speedup, and what lies between by cause."""
        rows = []
        for name, steps in self.steps.items():
            for pattern in PATTERNS:
                dense, sparse = steps["dense"], steps[pattern]
                rows.append(
                    {
                        "name": name,
                        "pattern": pattern,
                        "bound": float(sparse.bound),
                        "speedup": dense.cycles / sparse.cycles,
                        **{cause: float(v) for cause, v in split(dense, sparse).items()},
                    }
                )
        return rows

    @property
    def summary(self) -> dict[str, Any]:
        """The keys are a contract: `average_speedup`, `networks`, `ablation`."""
        import hwsim

        average = self.average_speedup
        networks = []
        for row in self.networks:
            gap = next(g for g in self.gaps if g["name"] == row["name"] and g["pattern"] == "2:8")
            steps = self.steps[row["name"]]
            networks.append(
                row
                | {"gap_2_8": {cause: gap[cause] for cause in CAUSES}}
                | {f"stages_{p.replace(':', '_')}": dict(steps[p].stages) for p in ("dense", "2:8")}
            )
        return {
            "headline": "sat",
            "published": PUBLISHED,
            "average_speedup": average,
            "relative_difference": average / PUBLISHED["average_speedup"] - 1,
            "networks": networks,
            "causes": CAUSES,
            "ablation": {name: dict(row) for name, row in self.ablation.items()},
            "assumptions": dict(self.assumptions),
            "sensitivity": [dict(row) for row in self.sensitivity],
            "parameters": parameters(self.config, {n: b for n, (_, b) in NETWORKS.items()}),
            "version": hwsim.__version__,
        }

    def files(self) -> dict[str, bytes]:
        """CSV tables, the configuration and the figures."""
        from hwsim.reproduce_figures import study_figures

        ablation = [{"switched_off": name, **row} for name, row in self.ablation.items()]
        files = {
            "config.yaml": dump_config(self.config).encode(),
            "networks.csv": table(self.networks),
            "gap.csv": table(self.gaps),
            "ablation.csv": table(ablation),
            "parameters.csv": table(
                parameters(self.config, {n: b for n, (_, b) in NETWORKS.items()})
            ),
        }
        if self.sensitivity:
            files["sensitivity.csv"] = table(self.sensitivity)
        return files | study_figures(self)

    def lines(self) -> list[str]:
        """The tables as text."""
        words = [f"{'network':10} {'batch':>5}" + "".join(f" {p:>13}" for p in PATTERNS)]
        for row in self.networks:
            cells = "".join(
                f"  {row[f'speedup_{k}']:.3f}/{row[f'bound_{k}']:.3f}"
                for k in ("2_4", "2_8", "2_16")
            )
            words.append(f"{row['name']:10} {row['batch']:>5}{cells}")
        words.append("speedup/bound of a training step over dense on the same array")
        published = PUBLISHED["average_speedup"]
        words.append(
            f"average at 2:8: {self.average_speedup:.3f}; published {published} "
            f"({self.average_speedup / published - 1:+.1%})"
        )
        words.append("gap at 2:8 by cause:")
        for gap in self.gaps:
            if gap["pattern"] == "2:8":
                parts = ", ".join(f"{c} {gap[c]:+.3f}" for c in CAUSES if abs(gap[c]) >= 5e-4)
                words.append(f"  {gap['name']:10} {parts}")
        words.append("one optimisation off at a time, averages at 2:8:")
        for name, without in self.ablation.items():
            words.append(
                f"  {name:17} step {without['sparse_slowdown']:.3f} times as long, "
                f"speedup {without['average_speedup']:.3f} over dense on that machine"
            )
        words.append("average at 2:8 by what element-wise passes cost:")
        words += [f"  {self.assumptions[w]:.3f}  {text}" for w, text in ASSUMPTIONS.items()]
        return words


def reproduce_sat(
    *, sensitivity: bool = False, progress: Progress = lambda done, total, words="": None
) -> Study:
    """Simulate every step of the study.

    Args:
        sensitivity: also vary DRAM, array, batch, buffers, adder latency and lanes.
        progress: told (steps done, steps in all, what).
    """
    config = load_config("sat")
    assert isinstance(config, SatConfig)
    points = [(what, value) for what, (_, values) in SENSITIVITY.items() for value in values]
    total = len(NETWORKS) * (
        4 + 2 * len(ABLATIONS) + 2 * len(ASSUMPTIONS) + 2 * len(points) * sensitivity
    )
    count = 0

    def measure(name: str, batch: int, machine: ArrayConfig, words: str, what: str = "") -> Step:
        nonlocal count
        found = measure_step(name, batch, machine, what)
        count += 1
        progress(count, total, f"{words} {name}")
        return found

    steps = {
        name: {
            pattern: measure(name, batch, replace(config, {"sparsity": pattern}), pattern)
            for pattern in ("dense", *PATTERNS)
        }
        for name, (_, batch) in NETWORKS.items()
    }
    ablation = {}
    for what, changes in ABLATIONS.items():
        machine = replace(config, changes)
        ratios, slower = [], []
        for name, (_, batch) in NETWORKS.items():
            dense = measure(name, batch, replace(machine, {"sparsity": "dense"}), what)
            sparse = measure(name, batch, machine, what)
            ratios.append(dense.cycles / sparse.cycles)
            slower.append(sparse.cycles / steps[name]["2:8"].cycles)
        ablation[what] = {"average_speedup": _mean(ratios), "sparse_slowdown": _mean(slower)}
    assumptions = {}
    for what in ASSUMPTIONS:
        ratios = []
        for name, (_, batch) in NETWORKS.items():
            dense = measure(name, batch, replace(config, {"sparsity": "dense"}), what, what)
            ratios.append(dense.cycles / measure(name, batch, config, what, what).cycles)
        assumptions[what] = _mean(ratios)
    rows: list[dict[str, Any]] = []
    for what, value in points if sensitivity else ():
        machine, speedups, times = varied(config, what, value), {}, []
        for name, (_, batch) in NETWORKS.items():
            images = int(value) if what == "batch" else batch
            dense = measure(name, images, replace(machine, {"sparsity": "dense"}), what)
            sparse = measure(name, images, machine, what)
            speedups[name] = dense.cycles / sparse.cycles
            times.append(sparse.cycles / images / (steps[name]["2:8"].cycles / batch))
        row = {"varied": what, "value": value, "average": _mean(list(speedups.values()))}
        rows.append(row | {"step": _mean(times)} | speedups)
    return Study(
        config=config, steps=steps, ablation=ablation, assumptions=assumptions, sensitivity=rows
    )


def varied(config: SatConfig, what: str, value: float) -> SatConfig:
    """The machine of a point of `SENSITIVITY`.

    Raises:
        UserError: a value that breaks its field's rule.
    """
    whole = int(value)
    changes: dict[str, dict[str, Any]] = {
        "dram": {"dram.bytes_per_cycle": float(value)},
        "array": {"rows": whole, "cols": whole, "vector_lanes": whole},
        "batch": {},
        "buffers": {
            f"buffers.{name}_bytes": int(value * 2**20) // 3
            for name in ("input", "weight", "output")
        },
        "adder_latency": {"adder_latency": whole},
        "interleave": {"interleave": whole},
        "vector_lanes": {"vector_lanes": whole},
    }
    found = replace(config, changes[what])
    assert isinstance(found, SatConfig)
    return found


def measure_step(name: str, batch: int, config: ArrayConfig, assumption: str = "") -> Step:
    """Simulate one training step of a zoo network.

    Args:
        assumption: of `ASSUMPTIONS`; empty is the first.

    Raises:
        UserError: a layer does not fit the buffers.
    """
    work = _assumed(_lowered(name, batch), assumption)
    return summarise(run_training(work, config), config)


def _assumed(work: Sequence[Work], what: str) -> list[Work]:
    """The work with element-wise passes at another cost, `ASSUMPTIONS`."""
    if what == "element_wise_free":
        return [item for item in work if not isinstance(item, Vector)]
    if what != "element_wise_pipelined":
        return list(work)
    return [
        dataclasses.replace(item, operations=item.lane_steps)
        if isinstance(item, Vector) and item.lane_steps is not None
        else item
        for item in work
    ]


@lru_cache(maxsize=64)
def _lowered(name: str, batch: int) -> tuple[Work, ...]:
    return tuple(lower_training(build(name, batch=batch)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
