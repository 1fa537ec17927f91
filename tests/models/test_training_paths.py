"""The fast training path against the hardware-exact one: same masks, same step up to FP16."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.models import pruning
from hwsim.models.exact_layers import conv, dense
from hwsim.models.exact_state import LayerState, Recipe, initial_state, layer_state
from hwsim.models.exact_train import train_step
from hwsim.models.nm import NMPattern
from hwsim.models.update import UpdateRule

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from hwsim.models.train_layers import Pruner, Sparsity, sparsify  # noqa: E402

NETWORK = (
    conv("conv1", 1, 16, 6),
    conv("conv2", 16, 16, 6, stride=2),
    dense("fc1", 144, 32),
    dense("fc2", 32, 10, relu=False),
)
RATE, MOMENTUM = 0.05, 0.9


class Flatten(torch.nn.Module):
    """NHWC order, as the engine keeps its maps."""

    def forward(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)


def to_torch(w: np.ndarray, layer) -> torch.Tensor:
    """[taps * in, out] to [out, in, kernel, kernel], or [out, in] for a fully connected layer."""
    if layer.kernel == 1:
        return torch.from_numpy(w.T.copy())
    shape = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
    return torch.from_numpy(w.reshape(shape).transpose(3, 2, 0, 1).copy())


def to_exact(w: torch.Tensor) -> np.ndarray:
    """The inverse of `to_torch`."""
    w = w.detach()
    matrix = w if w.ndim == 2 else w.permute(0, 2, 3, 1).flatten(1)
    return matrix.numpy().T


def backward_to_torch(mask: np.ndarray, layer) -> torch.Tensor:
    """[taps * out, in] to [out, in, kernel, kernel], or [out, in]."""
    if layer.kernel == 1:
        return torch.from_numpy(mask.copy())
    shape = (layer.kernel, layer.kernel, layer.outputs, layer.inputs)
    return torch.from_numpy(mask.reshape(shape).transpose(2, 3, 0, 1).copy())


def start(recipe: Recipe) -> tuple[LayerState, ...]:
    """Weights that FP16 holds exactly, so that both paths select alike, one sign a hidden channel.

    With inputs that are not negative, every sum before a ReLU is then clearly positive, clearly
    negative or exactly zero, and rounding cannot open or close a gate.
    """
    states = []
    for i, (layer, drawn) in enumerate(
        zip(NETWORK, initial_state(NETWORK, recipe, 7), strict=True)
    ):
        w = drawn.w.astype(np.float16).astype(np.float32)
        if layer.relu:
            w = np.abs(w) * np.where(np.arange(layer.outputs) % 3 == 1, -1, 1).astype(np.float32)
            w = (w / 4).astype(np.float16).astype(np.float32)  # logits of a moderate size
        states.append(layer_state(layer, w, np.zeros_like(w), recipe, i == 0))
    return tuple(states)


def build(states: tuple[LayerState, ...], sparsity: Sparsity) -> tuple[torch.nn.Sequential, Pruner]:
    relu = torch.nn.ReLU
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, 1, 1, bias=False), relu(),
        torch.nn.Conv2d(16, 16, 3, 2, 1, bias=False), relu(), Flatten(),
        torch.nn.Linear(144, 32, bias=False), relu(),
        torch.nn.Linear(32, 10, bias=False),
    )  # fmt: skip
    pruner = sparsify(network, sparsity, dense_last=False)
    with torch.no_grad():
        for parameter, layer, state in zip(network.parameters(), NETWORK, states, strict=True):
            parameter.copy_(to_torch(state.w, layer))
    return network, pruner


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The norm of the difference over the norm of what is wanted."""
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("pattern", [NMPattern(2, 4), NMPattern(2, 8)], ids=str)
@pytest.mark.parametrize(
    ("method", "nested"), [*((name, False) for name in pruning.METHODS), ("bdwp", True)]
)
def test_a_step_of_both_paths_is_the_same_up_to_half_precision(method, pattern, nested):
    recipe = Recipe(method=method, pattern=pattern, nested=nested,
                    rule=UpdateRule(rate=RATE, momentum=MOMENTUM))  # fmt: skip
    states = start(recipe)
    sparsity = Sparsity(method=method, pattern=pattern, nested=nested, dense_backward=True)
    network, pruner = build(states, sparsity)
    rng = np.random.default_rng(8)
    x = rng.random((6, 6, 6)).astype(np.float16).astype(np.float32)
    labels = rng.integers(0, 10, 6)

    for parameter, state, layer in list(zip(network.parameters(), states, NETWORK, strict=True))[
        1:
    ]:
        stages = pruner.stages(parameter, backward=True)
        if state.forward_mask is not None:
            assert (to_exact(stages.forward) == np.where(state.forward_mask, state.w, 0)).all()
        if state.backward_mask is not None:
            mask = backward_to_torch(state.backward_mask, layer)
            assert (stages.backward == parameter * mask).all()

    result = train_step(NETWORK, states, x, labels, recipe)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    loss = torch.nn.functional.cross_entropy(
        network(torch.from_numpy(x)[:, None]), torch.from_numpy(labels)
    )
    loss.backward()
    optimizer.step()
    # FP16 keeps 11 bits: operands are off by up to 2^-11, sums of their products by less than 2e-3
    assert result.loss == pytest.approx(loss.item(), rel=1e-3)
    for parameter, after, before in zip(network.parameters(), result.states, states, strict=True):
        assert apart(to_exact(parameter) - before.w, after.w - before.w) < 2e-3
