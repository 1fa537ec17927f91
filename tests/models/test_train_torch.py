"""N:M training in PyTorch: masks of the golden model, gradients written out, real training."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from hwsim.models import pruning
from hwsim.models.datasets import digits
from hwsim.models.nm import NMPattern, nm_mask

torch = pytest.importorskip("torch", reason="the extra train is not installed")

from hwsim.models.train_layers import (  # noqa: E402
    Pruner,
    Sparsity,
    backward_mask,
    forward_mask,
    group_mask,
    sparsify,
)
from hwsim.models.train_nets import TinyViT, cnn  # noqa: E402
from hwsim.models.train_torch import Recipe, accuracy, train  # noqa: E402

PATTERNS = [NMPattern(2, 4), NMPattern(2, 8), NMPattern(2, 16), NMPattern(1, 3), NMPattern(4, 4)]


@pytest.fixture(autouse=True)
def one_thread():
    """The same sums in the same order on every machine with the same library."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Few distinct magnitudes of both signs, so that most groups hold ties and zeros."""
    rng = np.random.default_rng(seed)
    return (rng.integers(-3, 4, shape) / 4).astype(np.float32)


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("shape", [(16, 32), (32, 16, 3, 3), (10, 24), (20, 12, 3, 3), (7, 5, 2)])
def test_masks_are_those_of_the_golden_model(shape, pattern):
    for w in (weights(shape), np.random.default_rng(1).standard_normal(shape, np.float32)):
        ours = forward_mask(torch.from_numpy(w), pattern)
        golden = pruning.forward_mask(w, pattern)
        assert (ours.numpy() == golden).all()
        assert (
            backward_mask(torch.from_numpy(w), pattern).numpy() == pruning.backward_mask(w, pattern)
        ).all()
        nested = backward_mask(torch.from_numpy(w), pattern, nested=ours)
        assert (nested.numpy() == pruning.backward_mask(w, pattern, nested=golden)).all()


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gradient_groups_follow_the_golden_tie_rule(axis, pattern):
    dy = weights((9, 16, 5), seed=2)
    ours = group_mask(torch.from_numpy(dy), pattern, axis)
    assert (ours.numpy() == nm_mask(dy, pattern.n, pattern.m, axis)).all()


def operands(method: str, w: np.ndarray, pattern: NMPattern, nested: bool):
    """FF's and BP's weights and SR-STE's term in NumPy, from the golden masks."""
    ff = bp = w
    term = np.zeros_like(w)
    if method in ("sr_ste", "bdwp"):
        mask = pruning.forward_mask(w, pattern)
        ff = bp = w * mask
        if method == "sr_ste":
            term = pruning.sr_ste_gradient(term, w, mask, 2e-4)
    if method in ("sdwp", "bdwp"):
        kept = pruning.forward_mask(w, pattern) if nested else None
        bp = w * pruning.backward_mask(w, pattern, nested=kept)
    return ff, bp, term


CASES = [("dense", False), ("sr_ste", False), ("sdgp", False), ("sdwp", False), ("bdwp", False)]


@pytest.mark.parametrize(("method", "nested"), [*CASES, ("bdwp", True)])
def test_a_linear_layer_has_the_written_out_gradients(method, nested):
    pattern, rng = NMPattern(2, 8), np.random.default_rng(3)
    x, dy = (rng.standard_normal(s).astype(np.float32) for s in ((6, 32), (6, 16)))
    layer = torch.nn.Sequential(torch.nn.Linear(32, 16))
    sparsify(layer, Sparsity(method=method, pattern=pattern, nested=nested),
             dense_first=False, dense_last=False)  # fmt: skip
    w, b = layer[0].weight.detach().numpy(), layer[0].bias.detach().numpy()
    ff, bp, term = operands(method, w, pattern, nested)
    pruned = dy * nm_mask(dy, 2, 8, 1) if method == "sdgp" else dy

    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    y.backward(torch.from_numpy(dy))
    close = {"rtol": 1e-5, "atol": 1e-5}  # another order of accumulation
    np.testing.assert_allclose(y.detach(), x @ ff.T + b, **close)
    np.testing.assert_allclose(given.grad, pruned @ bp, **close)
    np.testing.assert_allclose(layer[0].weight.grad, dy.T @ x + term, **close)
    np.testing.assert_allclose(layer[0].bias.grad, dy.sum(0), **close)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("method", "nested"), [*CASES, ("bdwp", True)])
def test_a_convolution_has_the_written_out_gradients(method, nested, stride):
    pattern, rng = NMPattern(2, 4), np.random.default_rng(4)
    layer = torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, stride, 1, bias=False))
    sparsify(layer, Sparsity(method=method, pattern=pattern, nested=nested),
             dense_first=False, dense_last=False)  # fmt: skip
    w = layer[0].weight.detach().numpy()
    x = rng.standard_normal((2, 8, 5, 5)).astype(np.float32)
    given = torch.from_numpy(x).requires_grad_()
    y = layer(given)
    dy = rng.standard_normal(tuple(y.shape)).astype(np.float32)
    y.backward(torch.from_numpy(dy))

    ff, bp, term = operands(method, w, pattern, nested)
    pruned = dy * nm_mask(dy, 2, 4, 1) if method == "sdgp" else dy
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float64)
    want_y, want_dw = np.zeros(dy.shape), term.astype(np.float64)
    want_dx = np.zeros(padded.shape)
    side = dy.shape[2]
    for i in range(3):
        for j in range(3):
            rows, columns = (slice(at, at + stride * (side - 1) + 1, stride) for at in (i, j))
            window = padded[:, :, rows, columns]
            want_y += np.einsum("nchw,oc->nohw", window, ff[:, :, i, j])
            want_dw[:, :, i, j] += np.einsum("nohw,nchw->oc", dy, window)
            want_dx[:, :, rows, columns] += np.einsum("nohw,oc->nchw", pruned, bp[:, :, i, j])
    close = {"rtol": 1e-4, "atol": 1e-4}  # float32 sums of up to 108 products against float64
    np.testing.assert_allclose(y.detach(), want_y, **close)
    np.testing.assert_allclose(given.grad, want_dx[:, :, 1:-1, 1:-1], **close)
    np.testing.assert_allclose(layer[0].weight.grad, want_dw, **close)


def test_the_decay_term_is_an_option_of_every_method_with_forward_masks():
    w = torch.from_numpy(weights((8, 8)))
    assert Pruner(Sparsity(method="bdwp")).stages(w, backward=True).decay == 0.0
    assert Pruner(Sparsity(method="sr_ste")).stages(w, backward=True).decay == 2e-4
    stages = Pruner(Sparsity(method="bdwp", decay=0.5)).stages(w, backward=True)
    assert stages.decay == 0.5
    assert (stages.kept.numpy() == pruning.forward_mask(w.numpy(), NMPattern(2, 8))).all()


def test_sr_ste_differentiates_the_pruned_product_unless_told_otherwise():
    w = torch.from_numpy(weights((8, 8)))
    stages = Pruner(Sparsity(method="sr_ste")).stages(w, backward=True)
    assert (stages.backward == stages.forward).all()
    assert (stages.forward != w).any()
    stages = Pruner(Sparsity(method="sr_ste", dense_backward=True)).stages(w, backward=True)
    assert (stages.backward == w).all()


@pytest.mark.parametrize(("schedule", "faded"), [("linear", 0.7), ("exponential", math.exp(-0.3))])
def test_decaying_masks_fade_pruned_weights_in_both_directions(schedule, faded):
    pattern = NMPattern(2, 4)
    pruner = Pruner(Sparsity(method="bdwp", pattern=pattern, schedule=schedule, rate=0.1))
    pruner.step, pruner.steps = 3, 10
    w = np.random.default_rng(5).standard_normal((8, 8)).astype(np.float32)
    stages = pruner.stages(torch.from_numpy(w), backward=True)
    for ours, mask in (
        (stages.forward, pruning.forward_mask(w, pattern)),
        (stages.backward, pruning.backward_mask(w, pattern)),
    ):
        np.testing.assert_allclose(ours, w * np.where(mask, 1, faded), rtol=1e-6)


def test_the_stepwise_schedule_tightens_the_pattern():
    pruner = Pruner(Sparsity(method="bdwp", pattern=NMPattern(1, 8), schedule="stepwise"))
    pruner.steps = 8
    w = torch.from_numpy(np.random.default_rng(6).standard_normal((8, 8)).astype(np.float32))
    kept = []
    for pruner.step in range(8):
        kept.append(int((pruner.stages(w, backward=False).forward[0] != 0).sum()))
    assert kept == [7, 7, 4, 4, 2, 2, 1, 1]


def test_the_first_layer_and_the_classifier_stay_dense():
    network = cnn()
    sparsify(network, Sparsity(method="bdwp"))
    kinds = [type(x).__name__ for x in network.modules() if isinstance(x, torch.nn.Conv2d)]
    assert len(kinds) >= 6
    assert kinds == ["Conv2d"] + ["PrunedConv2d"] * (len(kinds) - 1)
    assert type(network[-1]) is torch.nn.Linear
    vit = TinyViT()
    sparsify(vit, Sparsity(method="bdwp"))
    assert type(vit.embed) is torch.nn.Conv2d
    assert type(vit.head) is torch.nn.Linear
    assert all(type(block.qkv).__name__ == "PrunedLinear" for block in vit.blocks)


def test_every_pruned_layer_has_whole_groups_along_both_axes():
    for network in (cnn(), TinyViT()):
        sparsify(network, Sparsity(method="bdwp"))
        pruned = [m for m in network.modules() if type(m).__name__.startswith("Pruned")]
        assert pruned
        for layer in pruned:
            assert layer.weight.shape[0] % 16 == 0
            assert layer.weight.shape[1] % 16 == 0


def test_dense_training_through_the_pruned_layers_is_plain_training():
    data = digits_or_skip()
    recipe = Recipe(epochs=1, batch=64)
    runs = []
    for pruned in (True, False):
        torch.manual_seed(1)
        network = cnn(plan=((16, 1), (16, 2)))
        skip = {"dense_first": not pruned, "dense_last": not pruned}
        pruner = sparsify(network, Sparsity(), **skip)
        train(network, pruner, data, recipe, seed=1)
        runs.append([p.detach().numpy() for p in network.parameters()])
    for ours, plain in zip(*runs, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-4)


def test_a_step_of_the_optimizer_is_the_momentum_update_written_out():
    data = digits_or_skip()
    torch.manual_seed(2)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10, bias=False))
    w = network[1].weight.detach().numpy().astype(np.float64)
    pruner = sparsify(network, Sparsity())
    recipe = Recipe(epochs=2, batch=1437, rate=0.1, momentum=0.9, weight_decay=0.01, warmup=0.5)
    train(network, pruner, data, recipe, seed=1)
    images = data.train_images.reshape(1437, 64).astype(np.float64)
    x = (images - images.mean()) / images.std()
    velocity = np.zeros_like(w)
    for rate in (0.1, 0.1):  # the rise's only step, then the top of the cosine
        p = np.exp(x @ w.T)
        p /= p.sum(1, keepdims=True)
        p[np.arange(1437), data.train_labels] -= 1
        velocity = 0.9 * velocity + p.T @ x / 1437 + 0.01 * w
        w = w - rate * velocity
    np.testing.assert_allclose(network[1].weight.detach(), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["dense", "bdwp", "sr_ste", "sdgp", "sdwp"])
def test_digits_are_learnt_with_every_method(method):
    data = digits_or_skip()
    torch.manual_seed(1)
    network = cnn(plan=((16, 1), (32, 2), (32, 2)))
    pruner = sparsify(network, Sparsity(method=method))
    done = train(network, pruner, data, Recipe(epochs=4, batch=32), seed=1, points=2)
    assert done.accuracy >= 0.93
    assert done.accuracy == accuracy(network, data)
    assert [point.epoch for point in done.curve] == pytest.approx(
        [i / 2 for i in range(1, 9)], abs=0.02
    )
    assert done.curve[-1].loss < 0.5 * done.curve[0].loss


def test_training_again_gives_the_same_bits():
    data = digits_or_skip()
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        network = TinyViT(8, patch=2, width=32, depth=1)
        pruner = sparsify(network, Sparsity(method="bdwp"))
        done = train(network, pruner, data, Recipe(epochs=1, batch=64, rate=0.05), seed=3)
        runs.append((done.curve, network.head.weight.detach().numpy()))
    assert runs[0][0] == runs[1][0]
    assert (runs[0][1] == runs[1][1]).all()


@pytest.mark.slow
def test_the_vit_learns_digits_sparse():
    data = digits_or_skip()
    torch.manual_seed(1)
    network = TinyViT(8, patch=2, width=32, depth=1)
    pruner = sparsify(network, Sparsity(method="bdwp", pattern=NMPattern(2, 4)))
    recipe = Recipe(epochs=12, batch=32, rate=0.1, weight_decay=1e-4)
    done = train(network, pruner, data, recipe, seed=1)
    assert done.accuracy >= 0.75  # dense reaches 0.86 with this short schedule


def test_the_rate_rises_and_falls():
    recipe = Recipe(epochs=1, rate=0.2, warmup=0.25)
    rates = [recipe.rate_at(step, 8) for step in range(8)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.2])
    assert all(a > b for a, b in pairwise(rates[2:]))
    assert recipe.rate_at(8, 8) == pytest.approx(0)


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"^method must be one of dense, sr_ste, .*, but got 'x'$"):
        Sparsity(method="x")
    with pytest.raises(ValueError, match=r"^schedule must be one of none, .*, but got 'slow'$"):
        Sparsity(schedule="slow")
    with pytest.raises(ValueError, match=r"^0 <= rate must hold and be finite, but got -1$"):
        Sparsity(rate=-1)
    with pytest.raises(ValueError, match=r"^0 <= lambda must hold and be finite, but got inf$"):
        Sparsity(decay=math.inf)
    with pytest.raises(ValueError, match=r"^epochs and batch must be at least 1, but got 0 and 4$"):
        Recipe(epochs=0, batch=4)
    with pytest.raises(ValueError, match=r"^patch must divide side, but got patch=7 and side=9$"):
        TinyViT(9)
    grouped = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(ValueError, match=r"^a pruned convolution must have one group"):
        sparsify(grouped, Sparsity(method="bdwp"), dense_first=False, dense_last=False)


def test_a_diverging_run_says_so():
    data = digits_or_skip()
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.Linear(64, 10)
    )
    pruner = sparsify(network, Sparsity(method="bdwp"))
    with pytest.raises(ValueError, match=r"^the loss must stay finite, but got .* with bdwp 2:8"):
        train(network, pruner, data, Recipe(epochs=3, rate=1e6), seed=1)
    with pytest.raises(ValueError, match=r"^batch must not exceed the 1437 training images"):
        train(network, pruner, data, Recipe(epochs=1, batch=2000), seed=1)


def digits_or_skip():
    pytest.importorskip("sklearn", reason="the digits need scikit-learn")
    return digits()
