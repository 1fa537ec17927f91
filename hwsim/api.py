"""The Python interface: the same three things as the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hwsim.config import Accelerator, ArrayConfig, SparseConfig, StreamConfig, load_config
from hwsim.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from hwsim.delta_result import DeltaResult
    from hwsim.result import Result
    from hwsim.spgemm_result import SpgemmResult

__all__ = ["generate", "simulate", "sweep"]

PHASES = ("inference", "training")


def simulate(
    workload: Any,
    config: Accelerator | str | Path,
    *,
    overrides: Iterable[str] = (),
    phase: str = "inference",
    batch: int = 1,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
    source: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result | SpgemmResult | DeltaResult:
    """Run a workload on an accelerator.

    Networks on the arrays are counted only: no tensor is touched. Sparse products are computed,
    because their cycles depend on where the non-zeros are.

    Args:
        workload: a name of the zoo, an `.onnx` file, or a network; for accelerators of sparse
            products a Matrix Market file, `rmat:...`, `gcn:...`, `sparse-dnn:...`, or a matrix of
            scipy.sparse, see docs/sparse-inputs.md; for accelerators of streams a name of
            `hwsim.workloads_stream.STREAMS`.
        config: a configuration, a preset's name or a YAML file.
        overrides: `KEY=VALUE` changes, for a name or file.
        phase: `inference`, or `training` for one step: forward, backward, weight update.
        batch: images, sequences or frames at once.
        seed: of the zoo's weights, on which counts do not depend, and of generated matrices.
        dims: sizes of an ONNX file's free dimensions.
        source: what a stream's workload runs on, a file of sound, frames or video; None is the
            workload's own example.
        progress: told (layers or products done, in all).

    Raises:
        UserError: bad input; one sentence.
    """
    if not isinstance(config, (str, Path)):
        resolved = config
    else:
        resolved = load_config(config, overrides)
    if phase not in PHASES:
        raise UserError(f"--phase must be one of {', '.join(PHASES)}, but got {phase!r}")
    if isinstance(resolved, SparseConfig):
        if phase != "inference" or batch != 1 or dims:
            raise UserError(
                f"accelerator {resolved.name} runs sparse products: --phase training, --batch and "
                "--dim are for networks of dense layers"
            )
        return _simulate_sparse(workload, resolved, seed, progress)
    if source is not None and not isinstance(resolved, StreamConfig):
        raise UserError(f"--input is for accelerators of streams, but {resolved.name} is none")
    if isinstance(resolved, StreamConfig):
        if phase != "inference" or batch != 1 or dims:
            raise UserError(
                f"accelerator {resolved.name} runs a stream frame by frame: --phase training, "
                "--batch and --dim are for networks of dense layers"
            )
        from hwsim.engine_stream import simulate_stream

        return simulate_stream(workload, resolved, source=source, seed=seed, progress=progress)
    return _simulate_layers(workload, resolved, phase, batch, seed, dims, progress)


def _simulate_sparse(
    workload: Any, config: SparseConfig, seed: int, progress: Callable[[int, int], None]
) -> SpgemmResult:
    from hwsim.engine_sparse import run_products
    from hwsim.spgemm_result import SpgemmResult
    from hwsim.workloads_sparse import is_sparse, load_sparse, workload_name

    if not is_sparse(workload):
        raise UserError(
            f"workload {workload_name(workload)}: accelerator {config.name} runs sparse products: "
            "a .mtx or .mtx.gz file, rmat:..., gcn:... or sparse-dnn:..."
        )
    network = load_sparse(workload, config.op, seed)
    return SpgemmResult(
        workload=network.name,
        config=config,
        runs=tuple(run_products(network.products, config, progress)),
        seed=seed,
        notes=network.notes,
    )


def _simulate_layers(
    workload: Any,
    resolved: ArrayConfig,
    phase: str,
    batch: int,
    seed: int,
    dims: Mapping[str, int] | None,
    progress: Callable[[int, int], None],
) -> Result:
    from hwsim.engine import run
    from hwsim.models.lowering import lower
    from hwsim.models.lowering_training import kept_bits, lower_training
    from hwsim.result import Result
    from hwsim.training import run_training
    from hwsim.workloads import load_network

    network = load_network(workload, batch=batch, seed=seed, dims=dims)
    training = phase == "training"
    try:
        work = lower_training(network) if training else lower(network)
        kept = sum(kept_bits(network).values()) // 8 if training else 0
    except ValueError as error:
        raise UserError(str(error)) from None
    return Result(
        workload=network.name,
        config=resolved,
        phase=phase,
        batch=batch,
        seed=seed,
        runs=tuple((run_training if training else run)(work, resolved, progress)),
        kept_bytes=kept,
        notes=network.notes,
    )


def generate(config: Accelerator | str | Path, *, overrides: Iterable[str] = ()) -> str:
    """Synthesizable Verilog of a configuration.

    Raises:
        UserError: bad input, or there is no RTL for this kind of accelerator.
    """
    from hwsim.rtl.verilog import generate_verilog

    if isinstance(config, (str, Path)):
        config = load_config(config, overrides)
    return generate_verilog(config)


def sweep(
    spec: str | Path | Mapping[str, Any], folder: str | Path | None = None, **options: Any
) -> pd.DataFrame:
    """Run a sweep; see `hwsim.sweep_run.run_sweep`.

    Args:
        spec: specification or YAML file.
        folder: where the results are kept; None keeps the DataFrame only.
        options: of `run_sweep`.

    Raises:
        UserError: bad input.
    """
    from hwsim.sweep_run import run_sweep

    if folder is not None:
        return run_sweep(spec, folder, **options)
    options.setdefault("figures", False)  # of a folder that goes away
    with TemporaryDirectory(prefix="hwsim-") as temporary:
        return run_sweep(spec, temporary, **options)
