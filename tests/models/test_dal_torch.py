"""Delta Activation Layer: equations by hand, deltas against frames, export against the golden."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.models.delta import DeltaNetwork
from hwsim.models.moving_images import moving_clips

torch = pytest.importorskip("torch", reason="the extra train is not installed")
from torch import nn  # noqa: E402

from hwsim.models.dal_export import export, integer_stages, widen  # noqa: E402
from hwsim.models.dal_torch import (  # noqa: E402
    DeltaNet,
    Quantiser,
    delta_network,
    deltas,
)
from hwsim.models.dal_train import (  # noqa: E402
    Recipe,
    fit,
    measure,
    measure_integers,
    pixels,
    small_cnn,
)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def plain(groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, 2, 1, groups=groups), nn.ReLU(),
        nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3),
    )  # fmt: skip


def test_quantiser_forward_and_gradients_by_hand():
    q = Quantiser((2, 2), "channel", 0.5)
    q.threshold.data[:] = torch.tensor([[0.5], [-2.0]])  # a negative threshold is its magnitude
    z = torch.tensor([[[[0.2, 0.25], [1.0, -3.1]]], [[[-0.3, 0.9], [-1.0, 5.0]]]])
    z.requires_grad_(True)
    out = q(z)
    # codes, ties up: [0, 1], [1, -2] and [-1, 2], [0, 3]
    want = torch.tensor([[[[0.0, 0.5], [2.0, -4.0]]], [[[-0.5, 1.0], [0.0, 6.0]]]])
    assert torch.equal(out, want)
    g = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]], [[[5.0, 6.0], [7.0, 8.0]]]])
    out.backward(g)
    assert torch.equal(z.grad, g)  # dL/dz = dL/dO
    # dL/dq = -sum dL/dO round(z/q): channel 0 -(0 + 2 - 5 + 12), channel 1 -(3 - 8 + 0 + 24);
    # q = |threshold| turns the sign of channel 1
    assert q.threshold.grad.flatten().tolist() == [-9.0, 19.0]


@pytest.mark.parametrize(
    ("granularity", "shape"), [("channel", (3, 1, 1)), ("layer", (1, 1, 1)), ("neuron", (3, 4, 5))]
)
def test_thresholds_and_their_gradient_have_the_granularity(granularity, shape):
    q = Quantiser((3, 4, 5), granularity, 0.1)
    assert q.threshold.shape == shape
    z = torch.randn(2, 6, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    q(z).sum().backward()
    codes = torch.floor(z / 0.1 + 0.5)
    assert torch.allclose(q.threshold.grad, -codes.sum_to_size(shape))


def test_calibration_is_a_fraction_of_the_root_mean_square():
    q = Quantiser((2, 1), "channel")
    q.calibrate(torch.tensor([[[[3.0], [0.0]], [[-3.0], [2.0]]]]), 0.5)
    assert q.threshold.flatten().tolist() == pytest.approx([1.5, np.sqrt(2) / 2])


def test_temporal_loss_and_its_push_on_the_step_by_hand():
    network = delta_network(nn.Sequential(nn.Linear(2, 7)), (2,), step=1.0, granularity="layer")
    x = torch.tensor([[[0.9, 2.2], [2.1, 2.4], [2.0, -1.0]]])
    stages = network.stages(x)
    assert stages[0].tolist() == [[[1.0, 2.0], [2.0, 2.0], [2.0, -1.0]]]
    loss = network.sparsity_loss(stages, 0.25)
    assert loss.item() == pytest.approx(0.25 * 7 * (1 + 0 + 0 + 3) / 4)
    loss.backward()
    # dL/dO of O00 is -c, of O10 +c, of O11 +c, of O21 -c with c = 0.25 * 7 / 4 (0 where equal);
    # dL/dq = -sum dL/dO code = -c (-1 + 2 + 2 + 1): negative, so a step of descent raises q
    assert network.entry.threshold.grad.item() == pytest.approx(-0.25 * 7 / 4 * 4)


def test_l1_loss_leaves_the_input_out_and_relu_has_none():
    for method, want in (("relu", 0.0), ("l1", None)):
        torch.manual_seed(0)
        network = delta_network(plain(), (2, 8, 8), method=method)
        stages = network.stages(torch.rand(2, 3, 2, 8, 8))
        if want is None:
            # fan-outs: 3 x 3 x 6 / 4 of the second convolution, 5 and 3 of the linear layers
            fan = [13.5, 5, 3]
            want = sum(
                0.1 * f * s.abs().mean().item() for f, s in zip(fan, stages[1:4], strict=True)
            )
        assert network.sparsity_loss(stages, 0.1).item() == pytest.approx(want)
        assert network.entry is None


@pytest.mark.parametrize("method", ["relu", "dal"])
@pytest.mark.parametrize("groups", [1, 2])
def test_computing_on_deltas_gives_what_frames_give(method, groups):
    torch.manual_seed(1)
    network = delta_network(plain(groups), (2, 8, 8), method=method).double()
    x = torch.randn(2, 5, 2, 8, 8, dtype=torch.float64)
    network.calibrate(x, 0.3)
    whole, change = network.stages(x), network.stages(x, explicit=True)
    for a, b in zip(whole[:-1], change[:-1], strict=True):
        assert torch.allclose(deltas(a), b, atol=1e-9)
    assert torch.allclose(whole[-1], change[-1], atol=1e-9)
    loss = [s[-1].pow(2).sum() for s in (whole, change)]
    grads = [torch.autograd.grad(v, list(network.parameters())) for v in loss]
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", ["relu", "l1"])
def test_without_quantisers_it_is_the_plain_network(method):
    torch.manual_seed(2)
    network = plain()
    ours = delta_network(network, (2, 8, 8), method=method)
    x = torch.randn(3, 4, 2, 8, 8)
    assert torch.allclose(ours(x).flatten(0, 1), network(x.flatten(0, 1)), atol=1e-5)


def test_macs_count_taps_inside_the_image():
    network = delta_network(nn.Sequential(nn.Conv2d(2, 6, 3, 2, 1, groups=2)), (2, 4, 4))
    x = torch.zeros(1, 1, 2, 4, 4)
    x[0, 0, 0, 0, 0] = 1  # output (0, 0) only
    x[0, 0, 1, 1, 1] = -2  # outputs (0, 0), (0, 1), (1, 0), (1, 1)
    assert network.layer(0).macs(x) == (1 + 4) * 3
    linear = delta_network(nn.Sequential(nn.Linear(4, 7)), (4,))
    assert linear.layer(0).macs(torch.tensor([[[1.0, 0, 2, 0], [0, 0, 0, 3]]])) == 3 * 7


def on_the_grid(network: DeltaNet, seed: int) -> None:
    """Weights times steps of 8 bits with 127 among them, steps powers of 2: nothing to round."""
    rng = np.random.default_rng(seed)
    step = 2.0**-3
    network.entry.threshold.data.fill_(step)
    for i in range(len(network.layers)):
        layer = network.layer(i)
        w = rng.integers(-40, 41, layer.product.weight.shape).astype(float)
        w.reshape(len(w), -1)[:, 0] = 127
        layer.product.weight.data = torch.from_numpy(w * 2.0**-6)
        layer.bias.data = torch.from_numpy(rng.integers(-99, 99, layer.bias.shape) * step * 2.0**-6)
        if layer.quantiser is not None:
            step = 2.0 ** -(i % 2)
            layer.quantiser.threshold.data.fill_(step)


@pytest.mark.parametrize("groups", [1, 2])
def test_export_equals_the_golden_network_exactly(groups):
    network = delta_network(plain(groups), (2, 8, 8), granularity="channel").double()
    network.entry = Quantiser((2, 8, 8), "layer").double()
    on_the_grid(network, groups)
    frames = np.random.default_rng(3).integers(0, 256, (4, 2, 8, 8))
    # 8-bit codes clip and the float network does not: keep pixels and codes below
    encoder, layers = export(network, input_scale=2.0**-4, code_bits=16)
    golden = DeltaNetwork(encoder, layers)
    with torch.no_grad():
        x = torch.from_numpy(frames * 2.0**-4)[None]
        floats = network.stages(x, explicit=True)
    steps = [network.entry, *(network.layer(i).quantiser for i in range(3))]
    integers = integer_stages(encoder, layers, frames[None])
    seen = 0
    for t, frame in enumerate(frames):
        found = golden.step(frame)
        for i, quantiser in enumerate(steps):
            codes = (floats[i][0, t] / quantiser.threshold.detach().abs()).numpy()
            assert (codes == found[i]).all()
            seen += np.count_nonzero(found[i])
        for i, layer in enumerate(golden.layers):
            assert (layer.codes.reshape(-1) == integers[i + 1][0, t].reshape(-1)).all()
    assert seen > 500
    assert all(layer.saturations == 0 for layer in golden.layers)


def clips(steps: int = 4, count: int = 64, seed: int = 0):
    images = np.zeros((2, 4, 4), np.uint8)
    images[0, :, :2], images[1, :2] = 255, 255  # an upright and a lying bar
    return moving_clips(
        images, np.arange(2), [], clips=count, steps=steps, side=16, object_side=10, seed=seed
    )


def test_training_learns_and_the_sparsity_loss_thins_out_the_deltas():
    train, test = clips(), clips(6, 24, seed=1)
    torch.manual_seed(0)
    base = delta_network(small_cnn(16, 2), (1, 16, 16), method="relu")
    fit(base, train, Recipe(epochs=8, batch=8), seed=0)
    found = {}
    for rate in (0.0, 0.1):
        network = delta_network(small_cnn(16, 2), (1, 16, 16))
        network.load_state_dict(base.state_dict(), strict=False)
        network.entry = Quantiser((1, 16, 16), "layer")
        network.calibrate(pixels(train.frames), 0.25)
        fit(network, train, Recipe(epochs=6, frames=2, batch=8, sparsity=rate), seed=0)
        found[rate] = measure(network, test, temporal=True)
        widen(network, pixels(train.frames))
        integers = integer_stages(*export(network, input_scale=1 / 255), test.frames[:, :, None])
        exact = measure_integers(network, test, integers)
        assert exact.accuracy == pytest.approx(found[rate].accuracy, abs=0.05)
        assert exact.nonzeros == pytest.approx(found[rate].nonzeros, rel=0.2, abs=4)
    assert measure(base, test, temporal=False).accuracy > 0.9
    assert found[0.1].accuracy > 0.8
    assert sum(found[0.1].nonzeros) < 0.7 * sum(found[0.0].nonzeros)
    assert sum(found[0.1].steady) < sum(found[0.1].nonzeros)


def test_a_run_repeats_bit_for_bit():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        network = delta_network(small_cnn(16, 2), (1, 16, 16))
        fit(network, clips(), Recipe(epochs=1, frames=2, batch=8, sparsity=1e-3), seed=5)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_measured_numbers_of_a_network_that_copies_its_input():
    product = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(product.weight)
    head = nn.Linear(4, 2)
    nn.init.zeros_(head.weight)
    head.bias.data = torch.tensor([1.0, 0.0])  # always says class 0
    network = delta_network(nn.Sequential(product, nn.Flatten(), head), (1, 2, 2), method="relu")
    data = clips(2, 2)
    still = np.zeros((2, 2, 2, 2), np.uint8)
    still[0, 0, 0], still[0, 1, 0] = 9, (9, 8)  # two pixels; one of them changes in frame 1
    data = type(data)(still, np.array([0, 1]), data.speed)
    got = measure(network, data, temporal=True)
    assert got.accuracy == 0.5
    assert got.nonzeros == [0.75, 0.75]
    assert got.density == [0.1875, 0.1875]
    assert got.steady == [0.5, 0.5]
    assert got.macs == [0.75, 1.5]
    assert measure(network, data, temporal=False).nonzeros == [1.0, 1.0]


BAD = (nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 3, stride=(1, 2)), nn.Sigmoid())


@pytest.mark.parametrize("module", BAD, ids=str)
def test_modules_without_a_delta_version_are_told(module):
    with pytest.raises(ValueError, match="a delta network is made of"):
        delta_network(nn.Sequential(module), (1, 8, 8))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Quantiser((2,), "frame"), "granularity must be one of channel, layer, neuron"),
        (lambda: Quantiser((2,), "layer", 0.0), "step must be positive, but got 0.0"),
        (lambda: delta_network(plain(), (2, 8, 8), method="x"), "relu, l1, dal, but got 'x'"),
        (lambda: delta_network(nn.Sequential(), (2,)), "at least one convolution"),
        (lambda: delta_network(nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2, 1)), (1, 4, 4)),
         "a pool must be square"),
        (lambda: delta_network(nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2), nn.ReLU()),
                               (1, 4, 4)), "ReLU and then one pool"),
        (lambda: export(delta_network(plain(), (2, 8, 8), method="relu")), "but got 'relu'"),
        (lambda: export(delta_network(plain(), (2, 8, 8))), "one step, but got 2"),
        (lambda: Recipe(epochs=0), "at least 1, but got 0, 1 and 16"),
        (lambda: Recipe(epochs=1, sparsity=-1.0), "but got 0.004, -1.0 and 1.0"),
        (lambda: fit(delta_network(small_cnn(16), (1, 16, 16)), clips(2, 4),
                     Recipe(epochs=1, frames=3), seed=0), "but got 3 and 16"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_told(make, text):
    with pytest.raises(ValueError) as caught:
        make()
    assert text in str(caught.value)
