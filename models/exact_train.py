"""Hardware-exact N:M training: the golden of what the RTL computes in a training step.

A step runs, all in the formats of the engine (FP16 operands, FP32 sums in ascending k):

    FF  for every layer   Y = X W, out through ReLU and a rounding to FP16
    host                  softmax cross entropy in float64; dY = (p - onehot) * loss_scale / batch,
                          rounded to FP16
    for the layers from last to first
        BP                dX = dY W^T (not for the first), out through the ReLU gate and to FP16
        WU                dW = X^T dY, FP32
        UP                momentum update of FP32 w and v; then the FP16 copy, the masks and both
                          compact copies of the next step, pre-generated

BP runs before UP, so it sees the weights that FF saw. A layer is updated as soon as its gradient is
there: nothing later in the step reads its weights.

Rules of the value path, beyond `hwsim.models.gemm` and `hwsim.models.update`:

- Sums are rounded and pass ReLU or the gate as `hwsim.models.post` says; a NaN passes both.
- The gate of BP is the FP16 activation itself: a gradient passes where the activation that FF kept
  for WU is not zero (a NaN passes) and is +0 elsewhere, so no mask bits are stored. A positive sum
  that rounds to zero in FP16 is therefore gated.
- FP16 copies round to nearest even, infinite above 65504; NaN is 0x7E00.
- Masks are selected from the FP16 copy of the dense master, not from FP32: magnitudes compare as
  15-bit unsigned integers, lowest index first among equals, so NaN ranks above infinity.
- Groups run along the contracted axis: input channels in FF, output channels in BP (of dY^T for
  SDGP). Channels that M does not divide are grouped along the whole contracted axis, taps outside
  channels; a contracted axis shorter than M, and the first layer, stay dense.
- The loss scale is static. An overflow gives infinities that go through every product and the
  update like in the hardware; nothing is skipped.

The operations are those of `hwsim.models.exact_kernels`: `GOLDEN` here, `FAST` of
`hwsim.dataflows.exact_train` with the same bits, or `FLOAT32` (BLAS, no bits promised).

Sources: stages and operands of the methods, mixed precision and pre-generation arXiv 2309.13015;
static loss scaling arXiv 1710.03740.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsim.models.exact_kernels import GOLDEN, Kernels, Mask, Operand
from hwsim.models.exact_layers import Layer
from hwsim.models.exact_state import LayerState, Recipe, initial_state, layer_state
from hwsim.models.nm import Compact
from hwsim.models.update import UpdateRule

__all__ = [
    "LayerState",
    "Product",
    "Recipe",
    "StepResult",
    "Trace",
    "Update",
    "initial_state",
    "layer_state",
    "loss_gradient",
    "predict",
    "step_macs",
    "train_step",
]


@dataclass(frozen=True, kw_only=True)
class Product:
    """One matrix product of a step: Z = A B, then `post`.

    Attributes:
        layer: its name.
        stage: `FF`, `BP` or `WU`.
        a: FP16 [m, k].
        b: FP16 [k, n], dense or compact along k.
        z: FP32 [m, n], what leaves the accumulators.
        post: `relu` (ReLU, FP16), `half` (FP16), `gate` (gate, FP16) or `fp32` (as it is).
        gate: for `gate`, FP16 [m, n], the activations whose zeros close it; else None.
        out: [m, n], z after `post`.
        transposed: Z is the transpose of what the stage computes: with SDGP the pruned operand is
            dY, so BP runs as dX^T = W' dY'^T, the same sums with operands exchanged. `z` and `gate`
            and `out` are transposed too.
    """

    layer: str
    stage: str
    a: NDArray
    b: Operand
    z: NDArray
    post: str
    out: NDArray
    gate: NDArray | None = None
    transposed: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates that the array issues: every slot of a compact B."""
        steps, n = (self.b.values if isinstance(self.b, Compact) else self.b).shape
        return self.a.shape[0] * n * steps


@dataclass(frozen=True, kw_only=True)
class Update:
    """One layer's update.

    Attributes:
        layer: its name.
        before, after: the layer's state.
        gradient: FP32 dW [k, n], as WU left it, with the loss scale in it.
        rule: the scalars.
        mask: [k, n] the weights with the decay of kept ones; None where all are.
    """

    layer: str
    before: LayerState
    after: LayerState
    gradient: NDArray[np.float32]
    rule: UpdateRule
    mask: Mask | None


@dataclass
class Trace:
    """Products and updates in the order in which the engine runs them."""

    events: list[Product | Update] = field(default_factory=list)

    @property
    def products(self) -> list[Product]:
        return [event for event in self.events if isinstance(event, Product)]

    @property
    def updates(self) -> list[Update]:
        return [event for event in self.events if isinstance(event, Update)]


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """What a step leaves: the states, the mean cross entropy before it, the logits FP32."""

    states: tuple[LayerState, ...]
    loss: float
    logits: NDArray[np.float32]


def predict(
    network: Sequence[Layer],
    states: Sequence[LayerState],
    x: NDArray,
    kernels: Kernels | None = None,
) -> NDArray[np.float32]:
    """Logits [batch, classes], FP32, of FF alone.

    Args:
        x: [batch, ...] with the first layer's elements an image; rounded to FP16.

    Raises:
        ValueError: an image has another number of elements.
    """
    return _forward(network, states, x, kernels or GOLDEN, None)[1]


def train_step(
    network: Sequence[Layer],
    states: Sequence[LayerState],
    x: NDArray,
    labels: NDArray,
    recipe: Recipe,
    kernels: Kernels | None = None,
    trace: Trace | None = None,
) -> StepResult:
    """One step on a batch.

    Args:
        network: layers that follow each other, as `check_network` says.
        states: one a layer, made with the same recipe.
        x: [batch, ...] with the first layer's elements an image; rounded to FP16.
        labels: integers [batch] in 0..classes-1.
        kernels: the operations, `GOLDEN` when None.
        trace: takes every product and update.

    Raises:
        ValueError: an image has another number of elements, or a label is out of range.
    """
    ops = kernels or GOLDEN
    classes = network[-1].outputs
    if labels.shape != (len(x),) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"labels must be {len(x)} integers in 0..{classes - 1}, but got {labels.shape} in "
            f"{labels.min()}..{labels.max()}"
        )
    maps, logits, columns = _forward(network, states, x, ops, trace)
    loss, dy = loss_gradient(logits, labels, recipe.loss_scale, ops)

    after = list(states)
    rule = recipe.update_rule
    for i in reversed(range(len(network))):
        layer, state = network[i], states[i]
        dy = dy.reshape(layer.output_shape(len(x)))
        rows = dy.reshape(-1, layer.outputs)
        dx = None
        if i:
            gate = maps[i] if network[i - 1].relu else None
            dx = _backward(layer, state, dy, gate, recipe, ops, trace)
        gradient = _product(layer, "WU", columns[i].T, rows, "fp32", ops, trace)
        w, v = ops.update(state.w, state.v, gradient, rule, state.forward_mask)
        after[i] = layer_state(layer, w, v, recipe, i == 0, ops)
        if trace is not None:
            update = Update(
                layer=layer.name,
                before=state,
                after=after[i],
                gradient=gradient,
                rule=rule,
                mask=state.forward_mask,
            )
            trace.events.append(update)
        if dx is not None:
            dy = dx
    return StepResult(states=tuple(after), loss=loss, logits=logits)


def loss_gradient(
    logits: NDArray[np.float32],
    labels: NDArray,
    loss_scale: float,
    kernels: Kernels | None = None,
) -> tuple[float, NDArray[np.float16]]:
    """The host's part of a step: mean cross entropy, and dY [batch, classes] in FP16, scaled."""
    loss, error = _cross_entropy(logits, labels)
    with np.errstate(all="ignore"):
        return loss, (kernels or GOLDEN).half(error * (loss_scale / len(labels)))


def step_macs(network: Sequence[Layer], recipe: Recipe, batch: int) -> int:
    """Multiply-accumulates that the products of a step issue, inserted zeros and padding too."""
    total = 0
    for i, layer in enumerate(network):
        first = i == 0
        out = batch * layer.positions * layer.outputs
        total += out * recipe.forward_pattern(layer, first).compact_length(layer.k)
        total += out * layer.k  # WU
        if not first:
            pattern = recipe.backward_pattern(layer, first)
            if pattern.dense:
                pattern = recipe.gradient_pattern(layer, first)
            inputs = batch * layer.height * layer.width * layer.inputs
            total += inputs * pattern.compact_length(layer.k_back)
    return total


def _forward(
    network: Sequence[Layer],
    states: Sequence[LayerState],
    x: NDArray,
    ops: Kernels,
    trace: Trace | None,
) -> tuple[list[NDArray], NDArray, list[NDArray]]:
    """Input maps of every layer, logits, and the gathered inputs that WU uses again."""
    layer = network[0]
    size = layer.height * layer.width * layer.inputs
    if x.ndim < 2 or not len(x) or x[0].size != size:
        raise ValueError(f"x must be [batch, {size} elements], but got {x.shape}")
    value = ops.half(x)
    maps, columns = [], []
    for layer, state in zip(network, states, strict=True):
        value = value.reshape(layer.input_shape(len(x)))
        maps.append(value)
        a = ops.gather(value, layer)
        columns.append(a)
        post = "relu" if layer.relu else "fp32" if layer is network[-1] else "half"
        value = _product(layer, "FF", a, state.forward, post, ops, trace)
    return maps, value, columns


def _backward(
    layer: Layer,
    state: LayerState,
    dy: NDArray,
    x: NDArray | None,
    recipe: Recipe,
    ops: Kernels,
    trace: Trace | None,
) -> NDArray:
    """dX [batch * height * width, inputs] in FP16, gated by the activations X where given."""
    a = ops.gather_back(dy, layer)
    gate = None if x is None else x.reshape(-1, layer.inputs)
    post = "half" if gate is None else "gate"
    assert state.backward is not None
    pattern = recipe.gradient_pattern(layer, False)
    if pattern.dense:
        return _product(layer, "BP", a, state.backward, post, ops, trace, gate=gate)
    # compact is what B is, so the pruned gradient becomes B and dX comes transposed
    assert not isinstance(state.backward, Compact)
    _, pruned = ops.prune(np.ascontiguousarray(a.T), pattern, None)
    turned = np.ascontiguousarray(state.backward.T)
    gate = None if gate is None else np.ascontiguousarray(gate.T)
    out = _product(layer, "BP", turned, pruned, post, ops, trace, gate=gate, transposed=True)
    return np.ascontiguousarray(out.T)


def _product(
    layer: Layer,
    stage: str,
    a: NDArray,
    b: Operand,
    post: str,
    ops: Kernels,
    trace: Trace | None,
    *,
    gate: NDArray | None = None,
    transposed: bool = False,
) -> NDArray:
    z = ops.product(a, b)
    out = ops.post(z, post, gate)
    if trace is not None:
        trace.events.append(
            Product(
                layer=layer.name,
                stage=stage,
                a=a,
                b=b,
                z=z,
                post=post,
                out=out,
                gate=gate,
                transposed=transposed,
            )
        )
    return out


def _cross_entropy(logits: NDArray, labels: NDArray) -> tuple[float, NDArray[np.float64]]:
    """Mean loss, and p - onehot [batch, classes], in float64: the host's part."""
    rows = np.arange(len(labels))
    with np.errstate(all="ignore"):  # infinite logits give NaN, as they should
        # one memory order, because NumPy's sums depend on it
        shifted = np.ascontiguousarray(logits, np.float64)
        shifted = shifted - shifted.max(1, keepdims=True)
        e = np.exp(shifted)
        total = e.sum(1, keepdims=True)
        loss = float(np.mean(np.log(total[:, 0]) - shifted[rows, labels]))
        error = e / total
    error[rows, labels] -= 1
    return loss, error
