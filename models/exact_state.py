"""What hardware-exact training is made with and what it holds: recipe, layer states, masks.

From the FP32 master weights follow the FP16 copy, the masks of FF and BP and both compact copies;
`hwsim.models.exact_train` says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hwsim.models.exact_kernels import GOLDEN, Kernels, Mask, Operand
from hwsim.models.exact_layers import Layer, backward_matrix, check_network
from hwsim.models.nm import NMPattern
from hwsim.models.pruning import METHODS, Method
from hwsim.models.update import UpdateRule

__all__ = ["LayerState", "Recipe", "initial_state", "layer_state"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        method: of `hwsim.models.pruning.METHODS`.
        pattern: the N:M pattern of pruned operands.
        nested: take the backward mask from the weights that the forward mask keeps.
        loss_scale: what dY is multiplied with, a power of two so that undoing it is exact. Not
            given for the engine; 1024 because the gradients of the small networks here, 1/64 at
            batch 64 and falling, then stay far above FP16's subnormals and far below 65504.
        rule: the update; its `scale` and `pruned_decay` are set from the loss scale and the method.

    Raises:
        ValueError: an unknown method or a loss scale that is not a positive power of two.
    """

    method: str = "bdwp"
    pattern: NMPattern = field(default_factory=lambda: NMPattern(2, 8))
    nested: bool = False
    loss_scale: float = 1024.0
    rule: UpdateRule = field(default_factory=lambda: UpdateRule(rate=0.05))

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method must be one of {', '.join(METHODS)}, but got {self.method!r}")
        if not 2.0**-24 <= self.loss_scale <= 2.0**24 or np.frexp(self.loss_scale)[0] != 0.5:
            raise ValueError(
                f"loss_scale must be a power of two in 2**-24..2**24, but got {self.loss_scale}"
            )

    @property
    def pruning(self) -> Method:
        return METHODS[self.method]

    @property
    def update_rule(self) -> UpdateRule:
        """The rule that weights are updated with."""
        return replace(
            self.rule,
            scale=1.0 / self.loss_scale,
            pruned_decay=self.rule.decay + self.pruning.decay,
        )

    def forward_pattern(self, layer: Layer, first: bool) -> NMPattern:
        """The pattern of W in FF; dense where the method, the depth or the place asks for it."""
        return self._pattern(self.pruning.forward, layer.k, first)

    def backward_pattern(self, layer: Layer, first: bool) -> NMPattern:
        """The pattern of W in BP."""
        return self._pattern(self.pruning.backward == "weights", layer.k_back, first)

    def gradient_pattern(self, layer: Layer, first: bool) -> NMPattern:
        """The pattern of dY in BP."""
        return self._pattern(self.pruning.backward == "gradients", layer.k_back, first)

    def _pattern(self, pruned: bool, k: int, first: bool) -> NMPattern:
        if first or not pruned or k < self.pattern.m or self.pattern.dense:
            return _DENSE
        return self.pattern


@dataclass(frozen=True, kw_only=True)
class LayerState:
    """What the engine holds of a layer between steps.

    Attributes:
        w, v: FP32 [k, n], dense master weights and momenta.
        copy: FP16 [k, n], the dense copy that masks are selected from.
        forward: B of FF [k, n], FP16 dense or compact.
        backward: B of BP [k_back, inputs], FP16 dense or compact; None in the first layer.
        forward_mask: kept weights [k, n]; None where `forward` is dense.
        backward_mask: kept weights [k_back, inputs]; None where `backward` is dense.
    """

    w: NDArray[np.float32]
    v: NDArray[np.float32]
    copy: NDArray
    forward: Operand
    backward: Operand | None
    forward_mask: Mask | None
    backward_mask: Mask | None


def initial_state(
    network: Sequence[Layer], recipe: Recipe, seed: int, kernels: Kernels | None = None
) -> tuple[LayerState, ...]:
    """Normal weights with deviation sqrt(2 / fan in) (arXiv 1502.01852), momenta zero.

    Raises:
        ValueError: the layers do not follow each other.
    """
    check_network(network)
    rng = np.random.default_rng(seed)
    states = []
    for i, layer in enumerate(network):
        w = rng.standard_normal((layer.k, layer.outputs)) * np.sqrt(2 / layer.k)
        w = w.astype(np.float32)
        states.append(layer_state(layer, w, np.zeros_like(w), recipe, i == 0, kernels))
    return tuple(states)


def layer_state(
    layer: Layer,
    w: NDArray[np.float32],
    v: NDArray[np.float32],
    recipe: Recipe,
    first: bool,
    kernels: Kernels | None = None,
) -> LayerState:
    """Everything that follows from w: FP16 copy, masks, compact copies.

    Raises:
        ValueError: w or v is not FP32 [k, n].
    """
    ops = kernels or GOLDEN
    for name, x in (("w", w), ("v", v)):
        if x.dtype != np.float32 or x.shape != (layer.k, layer.outputs):
            raise ValueError(
                f"{layer.name}: {name} must be float32 {(layer.k, layer.outputs)}, "
                f"but got {x.dtype} {x.shape}"
            )
    copy = ops.half(w)
    forward: Operand = copy
    forward_mask = None
    pattern = recipe.forward_pattern(layer, first)
    if not pattern.dense:
        forward_mask, forward = ops.prune(copy, pattern, None)
    backward: Operand | None = None
    backward_mask = None
    if not first:
        backward = turned = backward_matrix(copy, layer)
        pattern = recipe.backward_pattern(layer, first)
        if not pattern.dense:
            nested = recipe.nested and forward_mask is not None
            within = backward_matrix(forward_mask, layer) if nested else None  # type: ignore[arg-type]
            backward_mask, backward = ops.prune(turned, pattern, within)
    return LayerState(
        w=w,
        v=v,
        copy=copy,
        forward=forward,
        backward=backward,
        forward_mask=forward_mask,
        backward_mask=backward_mask,
    )


_DENSE = NMPattern(1, 1)
