"""The result of a simulation: layers as a DataFrame, a summary, files and figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwsim.config import ArrayConfig, dump_config
from hwsim.energy import energy_parts, total_pj
from hwsim.engine import LayerRun
from hwsim.files import make_folder, write_all
from hwsim.models.work import Gemm, Vector

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FIGURE_NAMES", "LAYER_COLUMNS", "STALL_COLUMNS", "Result"]

FIGURE_NAMES = ("cycles", "utilization", "roofline", "traffic", "energy")
"""Figures of a result; each is written as PNG and SVG."""

STALL_COLUMNS = ("issue", "array_idle", "stall_dram", "fill", "drain")
"""The parts of a layer's cycles; they sum to `cycles`."""

LAYER_COLUMNS = (
    "layer", "stage", "op", "m", "n", "k", "count", "dataflow", "sparsity", "tile_m", "tile_n",
    "tile_k", "cycles", *STALL_COLUMNS, "macs_dense", "macs_effective", "utilization",
    "utilization_dense", "dram_read_bytes", "dram_write_bytes", "energy_pj", "energy_mac_pj",
    "energy_vector_pj", "energy_buffer_pj", "energy_dram_pj",
)  # fmt: skip
"""Columns of `layers.csv`."""

_ENERGY_PARTS = ("mac", "vector", "buffer", "dram")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a network did on an accelerator.

    Attributes:
        workload: its name.
        config: the configuration, fully resolved.
        phase, batch, seed: how it was run.
        runs: one entry a layer and stage.
        notes: what was chosen for the user, in sentences.
        kept_bytes: of maps, masks and indices that training keeps from FF for BP and WU.
    """

    workload: str
    config: ArrayConfig
    phase: str
    batch: int
    seed: int
    runs: tuple[LayerRun, ...]
    notes: tuple[str, ...] = ()
    kept_bytes: int = 0

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a layer and stage, `LAYER_COLUMNS`."""
        return [_row(run, self.config) for run in self.runs]

    @cached_property
    def layers(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=list(LAYER_COLUMNS))

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Totals; the keys are a contract, see `summary.json` in the README.

        `utilization` is kept multiply-accumulates over the array's own peak; `utilization_dense`
        is dense ones over the peak that the pattern allows. Neither can pass 1. Energy is computed
        from the summed counters, so it may differ in its last digits from the sum over layers.
        """
        import hwsim

        total = _Totals(self.runs)
        counters: Counter[str] = Counter()
        for run in self.runs:
            counters.update(run.counters)
        pattern = self.config.pattern
        energy = energy_parts(self.config, counters)
        return {
            "workload": self.workload,
            "accelerator": self.config.name,
            "phase": self.phase,
            "batch": self.batch,
            "cycles": total.cycles,
            "seconds": total.cycles / self.config.clock_hz,
            "macs_dense": total.macs_dense,
            "macs_effective": total.macs_effective,
            "utilization": _share(total.macs_effective, self.config.pes * total.cycles),
            "utilization_dense": _share(
                total.macs_dense * pattern.n, self.config.pes * total.cycles * pattern.m
            ),
            "dram_read_bytes": total.dram_read_bytes,
            "dram_write_bytes": total.dram_write_bytes,
            "energy_pj": total_pj(energy),
            "counters": dict(sorted(counters.items())),
            "version": hwsim.__version__,
            "seed": self.seed,
            "notes": list(self.notes),
            "energy_parts_pj": energy,
        } | (self._training() if self.phase == "training" else {})

    def _training(self) -> dict[str, Any]:
        """What a training step has beside: cycles by stage, element-wise passes apart, and what it
        keeps in DRAM between the stages."""
        stages: Counter[str] = Counter()
        for run in self.runs:
            passes = " element-wise" if isinstance(run.work, Vector) else ""
            stages[run.work.stage + passes] += run.cycles
        return {"stage_cycles": dict(stages), "kept_bytes": self.kept_bytes}

    def to_json(self, *, layers: bool = True) -> str:
        """The summary, with the layers' rows under `layers`, as one JSON object."""
        data = self.summary | ({"layers": self.rows} if layers else {})
        return json.dumps(data, indent=2, allow_nan=False)

    def write(self, folder: str | Path, *, figures: bool = True) -> Path:
        """Write summary.json, layers.csv, config.yaml and the figures (PNG and SVG).

        The set replaces that of an earlier run as a whole; without `figures`, the earlier run's
        are removed, because they would show something else.

        Raises:
            UserError: the folder cannot be written or the disk is full; old results stay whole.
        """
        path = make_folder(folder)
        files = {
            "config.yaml": dump_config(self.config).encode(),
            "layers.csv": _csv(self.rows).encode(),
            "summary.json": (self.to_json(layers=False) + "\n").encode(),
        }
        if figures:
            from hwsim.figures import figure_files

            files |= figure_files(self)
        stale = [] if figures else [f"{n}.{kind}" for n in FIGURE_NAMES for kind in ("png", "svg")]
        write_all(path, files, remove=stale)
        return path

    def plot_cycles(self, axes: Axes | None = None) -> Axes:
        """Cycles by layer, stacked by cause."""
        from hwsim.figures import plot_cycles

        return plot_cycles(self, axes)

    def plot_utilization(self, axes: Axes | None = None) -> Axes:
        """Issued and dense-equivalent utilisation by layer."""
        from hwsim.figures import plot_utilization

        return plot_utilization(self, axes)

    def plot_roofline(self, axes: Axes | None = None) -> Axes:
        """Layers under the roofs of the array and of DRAM."""
        from hwsim.figures import plot_roofline

        return plot_roofline(self, axes)

    def plot_traffic(self, axes: Axes | None = None) -> Axes:
        """DRAM bytes by layer, read and written."""
        from hwsim.figures import plot_traffic

        return plot_traffic(self, axes)

    def plot_energy(self, axes: Axes | None = None) -> Axes:
        """Energy by layer, stacked by part."""
        from hwsim.energy_figures import plot_energy

        return plot_energy(self, axes)


class _Totals:
    """Sums over the layers."""

    def __init__(self, runs: Sequence[LayerRun]) -> None:
        self.cycles = sum(r.cycles for r in runs)
        self.macs_dense = sum(r.macs_dense for r in runs)
        self.macs_effective = sum(r.macs_effective for r in runs)
        self.dram_read_bytes = sum(r.dram_read_bytes for r in runs)
        self.dram_write_bytes = sum(r.dram_write_bytes for r in runs)


def _row(run: LayerRun, config: ArrayConfig) -> dict[str, Any]:
    work = run.work
    shape = (work.m, work.n, work.k, work.count) if isinstance(work, Gemm) else (0, 0, 0, 1)
    # a layer's own peak: a dense layer on a sparse array cannot skip
    keep, block = (1, 1) if run.sparsity == "dense" else map(int, run.sparsity.split(":"))
    peak = config.pes * run.cycles
    values = (
        work.layer, work.stage, work.op, *shape, run.dataflow, run.sparsity, *run.tile,
        run.cycles, run.issue, run.array_idle, run.stall_dram, run.fill, run.drain,
        run.macs_dense, run.macs_effective, _share(run.macs_effective, peak),
        _share(run.macs_dense * keep, peak * block), run.dram_read_bytes, run.dram_write_bytes,
        run.energy_pj, *(run.energy_parts_pj.get(part, 0.0) for part in _ENERGY_PARTS),
    )  # fmt: skip
    return dict(zip(LAYER_COLUMNS, values, strict=True))


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.DictWriter(text, LAYER_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
