"""The 1.75x of SAT: speedup of N:M training over dense training on the same array, explained.

A training step of each network is simulated dense and at 2:4, 2:8 and 2:16. The bound of a speedup
is the ratio of multiply-accumulates, dense over kept. What the array loses against it is split by
cause in array slots (cycles times PEs), where everything is an integer:

    gap = bound - speedup = sum over causes c of bound (s_c - d_c / bound) / S

with s_c and d_c the slots that cause c takes in the sparse and the dense step and S all of the
sparse step's. The slots that kept multiply-accumulates need are no cause: they shrink by exactly
the bound. A cause that shrinks by more than the bound counts negative.

Nothing here is fitted to the published figure. Parameters that the paper does not give are those of
the preset, each with its reason; batches and resolutions are the networks' own published recipes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

from hwsim.config import Accelerator, SatConfig, dump_config, load_config, replace
from hwsim.layer_run import LayerRun
from hwsim.models.lowering_training import lower_training
from hwsim.models.work import Gemm, Vector, Work
from hwsim.models.zoo import build
from hwsim.reproduce import table
from hwsim.reproduce_parameters import parameters
from hwsim.training import run_training

__all__ = [
    "ABLATIONS",
    "CAUSES",
    "NETWORKS",
    "SENSITIVITY",
    "Step",
    "Study",
    "reproduce_sat",
    "split",
]

PUBLISHED = {
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

CAUSES = {
    "edges": "unit tiles that a layer does not fill, and groups that it does not",
    "array_idle": "skew, tiles shorter than the array is deep, an adder that waits",
    "stall_dram": "the array waits for DRAM",
    "fill_drain": "first load, last store and the array's tail of each layer",
    "element_wise": "passes of batch norm, pooling, activation functions, residuals",
    "sore": "the N:M selector",
    "wuve": "the weight update",
}
"""What keeps a speedup below its bound."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "full": {},
    "no_interleave": {"interleave": 1},
    "no_pregeneration": {"pregeneration": False},
    "only_os": {"dataflow": "os"},
    "only_ws": {"dataflow": "ws"},
    "none": {"interleave": 1, "pregeneration": False, "dataflow": "os"},
}
"""The three optimisations of the dataflow, one at a time, then all off."""

SENSITIVITY: dict[str, tuple[str, Sequence[float]]] = {
    "dram": ("DRAM bandwidth, bytes a cycle", (12, 24, 48, 96, 192, 384, 768)),
    "array": ("rows and columns, with a vector lane a column", (8, 16, 32, 64, 128)),
    "batch": ("images of a batch", (1, 4, 16, 64, 256, 1024)),
    "buffers": ("on-chip buffers, MiB in all", (0.75, 1.5, 3, 6, 12, 24)),
    "adder_latency": ("adder latency, steps, interleave as in the preset", (1, 2, 4, 6, 8)),
    "interleave": ("interleave, adder latency as in the preset", (1, 2, 4, 8)),
    "vector_lanes": ("vector lanes", (8, 16, 32, 64, 128)),
}
"""What is varied, and the values; the preset's is among them."""

Progress = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One training step.

    Attributes:
        cycles: of all rows.
        pes: processing elements.
        macs_dense, macs_effective: of all products.
        slots: array slots by cause, `CAUSES`; with `macs_effective` they sum to cycles times pes.
        stages: cycles by stage, element-wise passes apart.
    """

    cycles: int
    pes: int
    macs_dense: int
    macs_effective: int
    slots: Mapping[str, int]
    stages: Mapping[str, int]

    @property
    def bound(self) -> Fraction:
        """Of the speedup over dense, from multiply-accumulates alone."""
        return Fraction(self.macs_dense, self.macs_effective)


def split(dense: Step, sparse: Step) -> dict[str, Fraction]:
    """Bound minus speedup by cause; sums to it exactly."""
    total = sparse.cycles * sparse.pes
    return {
        cause: (sparse.bound * sparse.slots[cause] - dense.slots[cause]) / total for cause in CAUSES
    }


@dataclass(frozen=True, kw_only=True)
class Study:
    """The reproduced headline.

    Attributes:
        config: the machine, at 2:8.
        steps: by network and pattern, `dense` among them.
        ablation: average speedups and slowdowns by what is switched off.
        sensitivity: rows of (what, value, network or `average`, speedup), empty if not asked for.
    """

    config: SatConfig
    steps: Mapping[str, Mapping[str, Step]]
    ablation: Mapping[str, Mapping[str, float]]
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
        for name, row in self.ablation.items():
            words.append(
                f"  {name:17} step {row['sparse_slowdown']:.3f} times as long, "
                f"speedup {row['average_speedup']:.3f} over dense on that machine"
            )
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
    total = len(NETWORKS) * (4 + 2 * len(ABLATIONS) + 2 * len(points) * sensitivity)
    count = 0

    def measure(name: str, batch: int, machine: Accelerator, words: str) -> Step:
        nonlocal count
        found = measure_step(name, batch, machine)
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
    rows: list[dict[str, Any]] = []
    for what, value in points if sensitivity else ():
        machine, speedups = varied(config, what, value), {}
        for name, (_, batch) in NETWORKS.items():
            images = int(value) if what == "batch" else batch
            dense = measure(name, images, replace(machine, {"sparsity": "dense"}), what)
            sparse = measure(name, images, machine, what)
            speedups[name] = dense.cycles / sparse.cycles
        rows.append(
            {"varied": what, "value": value, "average": _mean(list(speedups.values()))} | speedups
        )
    return Study(config=config, steps=steps, ablation=ablation, sensitivity=rows)


def varied(config: SatConfig, what: str, value: float) -> SatConfig:
    """The machine of a point of `SENSITIVITY`.

    Raises:
        UserError: a value that breaks its field's rule.
    """
    whole = int(value)
    changes: dict[str, Any] = {
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
    }[what]
    found = replace(config, changes)
    assert isinstance(found, SatConfig)
    return found


def measure_step(name: str, batch: int, config: Accelerator) -> Step:
    """Simulate one training step of a zoo network.

    Raises:
        UserError: a layer does not fit the buffers.
    """
    return summarise(run_training(_lowered(name, batch), config), config)


def summarise(runs: Sequence[LayerRun], config: Accelerator) -> Step:
    """The rows of a step by cause and stage."""
    slots: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))
    stages: Counter[str] = Counter()
    for run in runs:
        stage = run.work.stage
        if isinstance(run.work, Gemm):
            slots["edges"] += run.issue * config.pes - run.macs_effective
            slots["array_idle"] += run.array_idle * config.pes
            slots["stall_dram"] += run.stall_dram * config.pes
            slots["fill_drain"] += (run.fill + run.drain) * config.pes
        elif isinstance(run.work, Vector):
            slots["element_wise"] += run.cycles * config.pes
            stage += " element-wise"
        else:
            slots[stage.lower()] += run.cycles * config.pes
        stages[stage] += run.cycles
    return Step(
        cycles=sum(run.cycles for run in runs),
        pes=config.pes,
        macs_dense=sum(run.macs_dense for run in runs),
        macs_effective=sum(run.macs_effective for run in runs),
        slots=dict(slots),
        stages=dict(stages),
    )


@lru_cache(maxsize=64)
def _lowered(name: str, batch: int) -> tuple[Work, ...]:
    return tuple(lower_training(build(name, batch=batch)))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
