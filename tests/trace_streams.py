"""A training step for the array: operand streams of every product, in the order they run.

Joins `hwsim.models.exact_train.Trace`, which says what is computed, with
`hwsim.dataflows.stce_feed`, which says what the array's ports see: for every product its job
descriptors, the beats of both operands and where each result beat belongs. A product needs the one
before it (FF a layer's input, BP and WU the gradient), except that WU of a layer needs only what BP
of that layer needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.config import SatConfig
from hwsim.dataflows.stce import OS, WS, gemm_cycles
from hwsim.dataflows.stce_feed import OperandStreams, gemm_streams
from hwsim.errors import UserError
from hwsim.models.exact_train import Product
from hwsim.models.formats import FP16
from hwsim.models.nm import Compact
from hwsim.models.post import PostMode

__all__ = ["ProductStreams", "choose_mode", "product_streams", "trace_streams"]

_POST = {"half": PostMode.PASS, "relu": PostMode.RELU, "gate": PostMode.GATE}


@dataclass(frozen=True, kw_only=True)
class ProductStreams:
    """One product of a trace as an array runs it.

    Attributes:
        product: what is computed.
        mode: `hwsim.dataflows.stce.OS` or `WS`.
        streams: beats of the operands.
        cycles: of the product alone on an idle array, without stalls.
    """

    product: Product
    mode: int
    streams: OperandStreams
    cycles: int

    @property
    def post_mode(self) -> PostMode | None:
        """What the post unit does with every result beat; None where FP32 leaves as it is."""
        return _POST.get(self.product.post)

    def expected_beats(self) -> NDArray[np.float32]:
        """The result beats [beats, cols] that belong to Z; padding rows and columns are 0."""
        return self._beats(self.product.z)

    def gate_beats(self) -> NDArray[np.bool_]:
        """The gate bit of every element of every result beat, [beats, cols], False in padding.

        Raises:
            ValueError: the product has no gate.
        """
        if self.product.gate is None:
            raise ValueError(
                f"only a product with post 'gate' has gate bits, but got {self.product.post!r}"
            )
        return self._beats(self.product.gate != 0)

    def wrong(self, beats: NDArray[np.float32]) -> int:
        """Elements of Z that differ from the golden's bits, given the result beats."""
        got = self.streams.gather(beats)
        return int((FP16.bits(got) != FP16.bits(self.product.z)).sum())

    def _beats(self, z: NDArray) -> NDArray:
        rows, first = self.streams.z_rows, self.streams.z_cols
        cols = self.streams.b_values.shape[1]
        wide = np.zeros((z.shape[0], int(first.max()) + cols), z.dtype)
        wide[:, : z.shape[1]] = z
        beats = wide[rows[:, None], first[:, None] + np.arange(cols)]
        beats[rows < 0] = 0
        return beats


def choose_mode(product: Product, config: SatConfig) -> int:
    """The configuration's dataflow, or for `auto` the one with fewer cycles, os among equals."""
    if config.dataflow != "auto":
        return OS if config.dataflow == "os" else WS
    return min((OS, WS), key=lambda mode: _cycles(product, mode, config))


def product_streams(product: Product, config: SatConfig, mode: int | None = None) -> ProductStreams:
    """One product; `mode` as `choose_mode` when None.

    Raises:
        UserError: the configuration's format is not fp16, or the pattern's M does not divide what
            a PE holds.
    """
    if config.number is not FP16:
        raise UserError(f"format must be fp16 to run a training step, but got {config.format}")
    if isinstance(product.b, Compact) and config.group_size % product.b.pattern.m:
        raise UserError(
            f"group must be a multiple of the M of {product.b.pattern}, but got {config.group_size}"
        )
    if mode is None:
        mode = choose_mode(product, config)
    return ProductStreams(
        product=product,
        mode=mode,
        streams=gemm_streams(product.a, product.b, FP16, mode=mode, array=config.array),
        cycles=_cycles(product, mode, config),
    )


def trace_streams(
    products: Iterable[Product], config: SatConfig, mode: int | None = None
) -> list[ProductStreams]:
    """Every product in order; `Trace.products` of one step or of several.

    Raises:
        UserError: as `product_streams`.
    """
    return [product_streams(product, config, mode) for product in products]


def _cycles(product: Product, mode: int, config: SatConfig) -> int:
    steps, n = (product.b.values if isinstance(product.b, Compact) else product.b).shape
    return gemm_cycles(mode, product.a.shape[0], n, steps, config.array)
