"""The result of a stream on a skipping engine: layers, frames, a summary, files and figures."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwsim.delta_run import DeltaRun, latency
from hwsim.energy import energy_parts, total_pj
from hwsim.files import make_folder, write_all

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FIGURE_NAMES", "DeltaAccelerator", "DeltaResult"]

FIGURE_NAMES = ("latency", "frames", "cycles", "energy")
"""Figures of a result; each is written as PNG and SVG."""


class DeltaAccelerator(Protocol):
    """What the report needs of a configuration of kind delta or mac_skip."""

    @property
    def name(self) -> str: ...
    @property
    def clock_hz(self) -> float: ...
    @property
    def peak_macs_per_s(self) -> float: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class DeltaResult:
    """What a stream of frames did on an accelerator.

    Attributes:
        workload: its name.
        config: the configuration, fully resolved.
        runs: one entry a layer; layers run one after the other in every frame.
        frames: how many.
        rate_hz: frames a second of the stream; 0 when it has none.
        dense_cycles: of the same machine on the same frames with nothing to skip, where known.
        quality: what skipping did to the output, `snr_db` and others, JSON numbers or None.
        seed, notes, phase, batch: as in a result of a dense network.
    """

    workload: str
    config: Any
    runs: tuple[DeltaRun, ...]
    frames: int
    rate_hz: float = 0.0
    dense_cycles: int | None = None
    quality: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    notes: tuple[str, ...] = ()
    phase: str = "inference"
    batch: int = 1

    @cached_property
    def frame_cycles(self) -> NDArray[np.int64]:
        """int64[T]: latency of each frame, all layers."""
        return np.sum([run.frame_cycles for run in self.runs], axis=0, dtype=np.int64)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a layer: the columns of every result, then `cycles_*` by cause, `bytes_*`
        by cause and `energy_*_pj` by part, of all layers."""
        return _rows(self.runs, self.config)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @cached_property
    def frame_rows(self) -> list[dict[str, Any]]:
        """One dictionary a frame: cycles, non-zeros, and the non-zeros of each layer."""
        nonzero = [run.frame_nonzero for run in self.runs]
        return [
            {
                "frame": t,
                "cycles": int(self.frame_cycles[t]),
                "nonzero": int(sum(each[t] for each in nonzero)),
                **{
                    f"nonzero_{run.layer}": int(each[t])
                    for run, each in zip(self.runs, nonzero, strict=True)
                },
            }
            for t in range(self.frames)
        ]

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Totals; the first keys are the contract of every `summary.json`.

        `utilization` is carried-out multiplies over the accelerator's peak; `sparsity` the share
        of all inputs of all layers that is skipped; `latency` is of a frame, in cycles.
        `speedup` is over `dense_cycles`. `realtime` is the stream's time over the engine's.
        """
        import hwsim

        runs, config = self.runs, self.config
        cycles = sum(run.cycles for run in runs)
        macs = sum(run.macs_effective for run in runs)
        items = sum(run.items_in for run in runs)
        counters: Counter[str] = Counter()
        for run in runs:
            counters.update(run.counters)
        energy = energy_parts(config, counters)
        seconds = cycles / config.clock_hz
        played = self.frames / self.rate_hz if self.rate_hz else 0.0
        return {
            "workload": self.workload,
            "accelerator": config.name,
            "phase": self.phase,
            "batch": self.batch,
            "cycles": cycles,
            "seconds": seconds,
            "macs_dense": sum(run.macs_dense for run in runs),
            "macs_effective": macs,
            "utilization": _share(macs, config.peak_macs_per_s * seconds),
            "dram_read_bytes": sum(run.dram_read_bytes for run in runs),
            "dram_write_bytes": sum(run.dram_write_bytes for run in runs),
            "energy_pj": total_pj(energy),
            "counters": dict(sorted(counters.items())),
            "version": hwsim.__version__,
            "seed": self.seed,
            "notes": list(self.notes),
            "frames": self.frames,
            "frame_rate_hz": self.rate_hz,
            "sparsity": 1 - _share(sum(run.nonzero_in for run in runs), items),
            "latency": latency(self.frame_cycles),
            "dense_cycles": self.dense_cycles,
            "speedup": None if self.dense_cycles is None else _share(self.dense_cycles, cycles),
            "realtime": _share(played, seconds) if played else None,
            "parts": _total([run.parts for run in runs]),
            "bytes_by_cause": _total([run.bytes_by_cause for run in runs]),
            "energy_parts_pj": energy,
            "state_bytes": sum(run.state_bytes for run in runs),
            **self.quality,
        }

    def to_json(self, *, layers: bool = True) -> str:
        """The summary, with the layers' rows under `layers`, as one JSON object."""
        data = self.summary | ({"layers": self.rows} if layers else {})
        return json.dumps(data, indent=2, allow_nan=False)

    def write(self, folder: str | Path, *, figures: bool = True) -> Path:
        """Write summary.json, layers.csv, frames.csv, config.yaml and the figures (PNG and SVG).

        The set replaces that of an earlier run as a whole; what this run does not have is removed.

        Raises:
            UserError: the folder cannot be written or the disk is full; old results stay whole.
        """
        from hwsim.config import dump_config

        path = make_folder(folder)
        files = {
            "config.yaml": dump_config(self.config).encode(),
            "layers.csv": _csv(self.rows),
            "frames.csv": _csv(self.frame_rows),
            "summary.json": (self.to_json(layers=False) + "\n").encode(),
        }
        if figures:
            from hwsim.delta_figures import figure_files

            files |= figure_files(self)
        known = {f"{name}.{kind}" for name in FIGURE_NAMES for kind in ("png", "svg")}
        write_all(path, files, remove=sorted(known - set(files)))
        return path

    def plot_latency(self, axes: Axes | None = None) -> Axes:
        """Histogram of cycles a frame."""
        from hwsim.delta_figures import plot_latency

        return plot_latency(self, axes)

    def plot_frames(self, axes: Axes | None = None) -> Axes:
        """Cycles of every frame along the stream."""
        from hwsim.delta_figures import plot_frames

        return plot_frames(self, axes)

    def plot_cycles(self, axes: Axes | None = None) -> Axes:
        """Cycles by layer, stacked by cause."""
        from hwsim.delta_figures import plot_cycles

        return plot_cycles(self, axes)


def _rows(runs: Sequence[DeltaRun], config: DeltaAccelerator) -> list[dict[str, Any]]:
    parts = list(_total([run.parts for run in runs]))
    causes = list(_total([run.bytes_by_cause for run in runs]))
    energies = list(_total([run.energy_parts_pj for run in runs]))
    peak = config.peak_macs_per_s / config.clock_hz
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            "layer": run.layer,
            "stage": run.stage,
            "op": run.op,
            "m": run.m,
            "n": run.n,
            "k": run.k,
            "dataflow": run.dataflow,
            "cycles": run.cycles,
            "macs_dense": run.macs_dense,
            "macs_effective": run.macs_effective,
            "utilization": _share(run.macs_effective, peak * run.cycles),
            "dram_read_bytes": run.dram_read_bytes,
            "dram_write_bytes": run.dram_write_bytes,
            "energy_pj": run.energy_pj,
            "items_in": run.items_in,
            "nonzero_in": run.nonzero_in,
            "density_in": run.density_in,
            "items_out": run.items_out,
            "nonzero_out": run.nonzero_out,
            "density_out": run.density_out,
            "state_bytes": run.state_bytes,
        }
        row |= {f"cycles_{_column(name)}": run.parts.get(name, 0) for name in parts}
        row |= {f"bytes_{_column(name)}": run.bytes_by_cause.get(name, 0) for name in causes}
        row |= {
            f"energy_{_column(name)}_pj": run.energy_parts_pj.get(name, 0.0) for name in energies
        }
        rows.append(row)
    return rows


def _total(each: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Sums by name, names in the order in which they first appear."""
    names = dict.fromkeys(name for one in each for name in one)
    return {name: sum(one.get(name, 0) for one in each) for name in names}


def _column(name: str) -> str:
    return name.replace(".", "_").replace(" ", "_")


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["layer"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
