"""Runs sparse products on whichever machine a configuration describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwsim.config import PiumaConfig, SparseConfig, SpgemmDataflowConfig
from hwsim.models.spgemm import SparseProduct
from hwsim.spgemm_run import SpgemmRun

__all__ = ["run_products"]


def run_products(
    products: Sequence[SparseProduct],
    config: SparseConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[SpgemmRun]:
    """Every product in order, one after the other.

    Args:
        progress: told (products done, products in all).

    Raises:
        UserError: the machine cannot run a product; the sentence says why.
    """
    done = []
    for i, product in enumerate(products):
        done.append(_run(product, config))
        progress(i + 1, len(products))
    return done


def _run(product: SparseProduct, config: SparseConfig) -> SpgemmRun:
    # each engine compiles kernels of its own: only the one that is used is imported
    if isinstance(config, SpgemmDataflowConfig):
        from hwsim.engine_dataflow import run_product as of_dataflow

        return of_dataflow(product, config)
    if isinstance(config, PiumaConfig):
        from hwsim.engine_piuma import run_product as of_piuma

        return of_piuma(product, config)
    from hwsim.engine_rowwise import run_product as of_rowwise

    return of_rowwise(product, config)
