"""The result of running sparse products: products as a DataFrame, a summary, files and figures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hwsim.config_base import DramConfig
from hwsim.energy import energy_parts, total_pj
from hwsim.files import make_folder, write_all
from hwsim.spgemm_machine import MACHINE_FIGURES, machine_summary, thread_rows, timeline_rows
from hwsim.spgemm_run import SpgemmRun, total

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FIGURE_NAMES", "SpgemmAccelerator", "SpgemmResult", "part_name"]

FIGURE_NAMES = ("cycles", "traffic", "roofline", "energy")
"""Figures of every result; each is written as PNG and SVG. Results of the machine model have
`hwsim.spgemm_machine.MACHINE_FIGURES` too."""

_MACHINE_FILES = ("threads.csv", "timeline.csv", "trace.json")


class SpgemmAccelerator(Protocol):
    """What the report needs of a configuration: those of kind piuma, spgemm, spgemm_dataflow."""

    @property
    def name(self) -> str: ...
    @property
    def clock_hz(self) -> float: ...
    @property
    def dram(self) -> DramConfig: ...
    @property
    def peak_macs_per_cycle(self) -> float: ...


@dataclass(frozen=True, kw_only=True)
class SpgemmResult:
    """What a workload of sparse products did on an accelerator.

    Attributes:
        workload: its name.
        config: the configuration, fully resolved.
        runs: one entry a product, in the order they ran, one after the other.
        seed: of generated inputs.
        notes: what was done to the input or chosen for the user, in sentences.
        phase, batch: as in a result of a dense network.
    """

    workload: str
    config: Any
    runs: tuple[SpgemmRun, ...]
    seed: int = 0
    notes: tuple[str, ...] = ()
    phase: str = "inference"
    batch: int = 1

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary a product: the columns of every result, then `cycles_*` by cause,
        `bytes_*` by cause and `energy_*_pj` by part, of all products."""
        return _rows(self.runs, self.config)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    @cached_property
    def threads(self) -> list[dict[str, Any]]:
        """One dictionary a product and hardware thread: instructions issued and cycles waited by
        cause, which sum to the product's cycles; empty without the machine model."""
        return thread_rows(self.runs, self.config)

    @cached_property
    def timeline(self) -> list[dict[str, Any]]:
        """One dictionary a time bucket, products one after the other; empty without the machine
        model."""
        return timeline_rows(self.runs)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Totals; the first keys are the contract of every `summary.json`.

        `utilization` is multiplies over the accelerator's peak. `probes_per_insert` is table slots
        looked at for each product that is inserted or accumulated. What the accelerator's model
        does not tell is null.
        """
        import hwsim

        runs, config = self.runs, self.config
        cycles = sum(run.cycles for run in runs)
        macs = sum(run.macs_effective for run in runs)
        reads = sum(run.dram_read_bytes for run in runs)
        writes = sum(run.dram_write_bytes for run in runs)
        counters = total(run.counters for run in runs)
        wide = config.dram.bytes_per_cycle
        energy = energy_parts(config, counters)
        seconds = cycles / config.clock_hz
        return {
            "workload": self.workload,
            "accelerator": config.name,
            "phase": self.phase,
            "batch": self.batch,
            "cycles": cycles,
            "seconds": seconds,
            "macs_dense": sum(run.macs_dense for run in runs),
            "macs_effective": macs,
            "utilization": _share(macs, config.peak_macs_per_cycle * cycles),
            "dram_read_bytes": reads,
            "dram_write_bytes": writes,
            "energy_pj": total_pj(energy),
            "counters": dict(sorted(counters.items())),
            "version": hwsim.__version__,
            "seed": self.seed,
            "notes": list(self.notes),
            "dataflow": "+".join(dict.fromkeys(run.dataflow for run in runs)),
            "nnz_c": sum(run.nnz_c for run in runs),
            "multiplies_per_second": _share(macs, seconds),
            "parts": total(run.parts for run in runs),
            "bytes_by_cause": total(run.bytes_by_cause for run in runs),
            "energy_parts_pj": energy,
            "dram_bandwidth_share": None if wide is None else _share(reads + writes, wide * cycles),
            "cache_hit_rate": _hit_rate(counters),
            "probes_per_insert": _probes(counters),
            **machine_summary(runs, config),
        }

    def to_json(self, *, layers: bool = True) -> str:
        """The summary, with the products' rows under `layers`, as one JSON object."""
        data = self.summary | ({"layers": self.rows} if layers else {})
        return json.dumps(data, indent=2, allow_nan=False)

    def write(self, folder: str | Path, *, figures: bool = True) -> Path:
        """Write summary.json, layers.csv, config.yaml and the figures (PNG and SVG); of the machine
        model also threads.csv, timeline.csv and trace.json (Chrome trace events, for Perfetto).

        The set replaces that of an earlier run as a whole; what this run does not have is removed.

        Raises:
            UserError: the folder cannot be written or the disk is full; old results stay whole.
        """
        from hwsim.config import dump_config

        path = make_folder(folder)
        files = {
            "config.yaml": dump_config(self.config).encode(),
            "layers.csv": _csv(self.rows),
            "summary.json": (self.to_json(layers=False) + "\n").encode(),
        }
        if self.threads:
            from hwsim.trace_events import trace_json

            files["threads.csv"] = _csv(self.threads)
            files["timeline.csv"] = _csv(self.timeline)
            files["trace.json"] = trace_json(self)
        if figures:
            from hwsim.spgemm_figures import figure_files

            files |= figure_files(self)
        known = {f"{name}.{kind}" for name in _all_figures() for kind in ("png", "svg")}
        known |= set(_MACHINE_FILES)
        write_all(path, files, remove=sorted(known - set(files)))
        return path

    def plot_cycles(self, axes: Axes | None = None) -> Axes:
        """Cycles by product, stacked by cause; one product: a bar a cause."""
        from hwsim.spgemm_figures import plot_cycles

        return plot_cycles(self, axes)

    def plot_traffic(self, axes: Axes | None = None) -> Axes:
        """DRAM bytes by product, stacked by operand; one product: a bar a cause."""
        from hwsim.spgemm_figures import plot_traffic

        return plot_traffic(self, axes)

    def plot_roofline(self, axes: Axes | None = None) -> Axes:
        """Products under the roofs of the accelerator and of DRAM."""
        from hwsim.spgemm_figures import plot_roofline

        return plot_roofline(self, axes)

    def plot_threads(self, axes: Axes | None = None) -> Axes:
        """Histogram of the threads' utilisation; needs the machine model."""
        from hwsim.spgemm_figures import plot_threads

        return plot_threads(self, axes)


def part_name(name: str) -> str:
    """A cause as a column may name it: `cache/dram` is `cache_dram`."""
    return name.replace("/", "_").replace(".", "_").replace(" ", "_")


def _rows(runs: Sequence[SpgemmRun], config: SpgemmAccelerator) -> list[dict[str, Any]]:
    parts = list(total(run.parts for run in runs))
    causes = list(total(run.bytes_by_cause for run in runs))
    energies = list(dict.fromkeys(name for run in runs for name in run.energy_parts_pj))
    rows = []
    for run in runs:
        row: dict[str, Any] = {
            "layer": run.layer,
            "stage": run.stage,
            "op": run.op,
            "m": run.m,
            "n": run.n,
            "k": run.k,
            "nnz_a": run.nnz_a,
            "nnz_b": run.nnz_b,
            "nnz_c": run.nnz_c,
            "dataflow": run.dataflow,
            "cycles": run.cycles,
            "macs_dense": run.macs_dense,
            "macs_effective": run.macs_effective,
            "utilization": _share(run.macs_effective, config.peak_macs_per_cycle * run.cycles),
            "dram_read_bytes": run.dram_read_bytes,
            "dram_write_bytes": run.dram_write_bytes,
            "energy_pj": run.energy_pj,
        }
        row |= {f"cycles_{part_name(name)}": run.parts.get(name, 0) for name in parts}
        row |= {f"bytes_{part_name(name)}": run.bytes_by_cause.get(name, 0) for name in causes}
        row |= {
            f"energy_{part_name(name)}_pj": run.energy_parts_pj.get(name, 0.0) for name in energies
        }
        rows.append(row)
    return rows


def _hit_rate(counters: dict[str, int]) -> float | None:
    """Of every cache the model has, by accesses; None without one."""
    hits = sum(v for name, v in counters.items() if name.endswith("cache.hit"))
    misses = sum(v for name, v in counters.items() if name.endswith("cache.miss"))
    return hits / (hits + misses) if hits + misses else None


def _probes(counters: dict[str, int]) -> float | None:
    placed = counters.get("spgemm.hash.insert", 0) + counters.get("spgemm.hash.accumulate", 0)
    return counters.get("spgemm.hash.probe", 0) / placed if placed else None


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _all_figures() -> tuple[str, ...]:
    from hwsim.result import FIGURE_NAMES as OF_LAYERS

    return (*OF_LAYERS, *FIGURE_NAMES, *MACHINE_FIGURES)


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["layer"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
