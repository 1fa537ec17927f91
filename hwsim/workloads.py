"""What a WORKLOAD names: a network of the zoo or an ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hwsim.errors import UserError
from hwsim.models.network import Network

__all__ = ["load_network"]


def load_network(
    workload: str | Path | Network,
    *,
    batch: int = 1,
    seed: int = 0,
    dims: Mapping[str, int] | None = None,
) -> Network:
    """The network that a workload names.

    Args:
        workload: a name of the zoo, a path that ends in `.onnx`, or a network.
        batch: images, sequences or frames at once.
        seed: of the zoo's weights.
        dims: sizes of an ONNX file's free dimensions.

    Raises:
        UserError: it is neither, or it cannot be imported.
    """
    if isinstance(workload, Network):
        return workload
    if batch < 1:
        raise UserError(f"--batch must be at least 1, but got {batch}")
    if seed < 0:
        raise UserError(f"--seed must not be negative, but got {seed}")
    text = str(workload)
    if text.endswith(".onnx"):
        from hwsim.models.onnx_import import load_onnx

        try:
            return load_onnx(text, batch=batch, dims=dims)
        except ValueError as error:
            raise UserError(str(error)) from None
    from hwsim.models.zoo import ZOO, build

    if text not in ZOO:
        from hwsim.workloads_sparse import is_sparse, workload_name

        if is_sparse(workload):
            raise UserError(
                f"workload {workload_name(workload)}: a sparse product runs on piuma, spgemm or "
                "another accelerator of sparse products, not on an array for networks"
            )
        known = ", ".join(sorted(ZOO))
        raise UserError(f"workload {text!r} is neither an .onnx file nor one of {known}")
    if dims:
        raise UserError(f"--dim is for .onnx files; {text} has no free dimensions")
    return build(text, batch=batch, seed=seed)
