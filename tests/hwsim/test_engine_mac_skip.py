"""Skipping machines on masks: files in, laws applied layer by layer, traffic, bad input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace as replace_fields
from math import ceil

import numpy as np
import onnx
import pytest
from networks import find
from onnx import TensorProto, helper, numpy_helper

from hwsim.api import simulate
from hwsim.config import load_config, replace
from hwsim.config_mac_skip import MacSkipConfig
from hwsim.dataflows.mac_skip import effectual_macs
from hwsim.engine_mac_skip import layer_cost, run_masked, simulate_masked
from hwsim.errors import UserError
from hwsim.models.forward import forward
from hwsim.models.masks import MaskedLayer
from hwsim.models.network_masks import network_masks
from hwsim.models.onnx_import import load_onnx
from hwsim.models.squeezenet_masks import load_pruned, prepare, run
from hwsim.workloads_mask import load_masked

ENGINES = ("eyeriss_v2_pe", "cnvlutin", "scnn", "sparten", "spartus", "seneca")
COUNTS = {"astronaut": 339.0e6, "chelsea": 344.6e6, "coffee": 339.9e6, "rocket": 337.5e6}
"""Effectual multiplies of the pruned SqueezeNet, of the README beside its weights."""


def layer(seed=0, density=0.4, *, name="conv", full=False):
    rng = np.random.default_rng(seed)
    acts, weights = rng.random((32, 12, 12)) < density, rng.random((48, 32, 3, 3)) < density
    if full:
        acts, weights = np.ones_like(acts), np.ones_like(weights)
    return MaskedLayer(name, acts, weights, pads=((1, 1), (1, 1)))


@pytest.mark.parametrize("engine", ENGINES)
def test_every_machine_skips_what_it_can_see(engine):
    config = load_config(engine)
    sparse, full = layer_cost(layer(), config), layer_cost(layer(full=True), config)
    assert sparse.cycles < full.cycles
    assert sparse.dense_cycles == full.dense_cycles
    assert sparse.effectual <= sparse.issued <= full.issued
    # no machine multiplies more than it has multipliers
    assert sparse.effectual <= sparse.cycles * config.peak_macs_per_cycle
    assert full.dense_cycles * config.peak_macs_per_cycle >= layer().macs_dense
    nothing = MaskedLayer(
        "zero", np.zeros((32, 12, 12), bool), layer().weights, pads=((1, 1), (1, 1))
    )
    empty = layer_cost(nothing, config)
    assert empty.effectual == 0
    # SparTen looks at every chunk; the others pass zeros without a cycle
    assert (empty.cycles > 0) == (engine == "sparten")


def test_units_of_eyeriss_share_filters():
    one = layer()
    acts, weights = one.operands()
    config = load_config("eyeriss_v2_pe", ["units=5"])
    each = [effectual_macs(acts, weights[unit::5]) for unit in range(5)]
    assert layer_cost(one, config).cycles == max(each)
    assert layer_cost(one, config).issued == sum(each)


@pytest.mark.parametrize("engine", ENGINES)
def test_result(engine, tmp_path):
    config = load_config(engine)
    inputs = [[layer(0, name="a"), layer(1, name="b")], [layer(2, name="a"), layer(3, name="b")]]
    result = simulate_masked("two", inputs, config)
    summary = result.summary
    costs = [[layer_cost(x, config) for x in layers] for layers in inputs]
    assert result.frame_cycles.tolist() == [sum(c.cycles for c in row) for row in costs]
    assert summary["dense_cycles"] == sum(c.dense_cycles for row in costs for c in row)
    assert summary["macs_effective"] == sum(c.effectual for row in costs for c in row)
    assert summary["macs_dense"] == 4 * 144 * 48 * 288
    assert summary["effectual_share"] == summary["macs_effective"] / summary["macs_dense"]
    assert 0 < summary["utilization"] <= 1
    assert [row["layer"] for row in result.rows] == ["a", "b"]
    result.write(tmp_path, figures=False)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert load_config(tmp_path / "config.yaml") == config


def test_narrow_dram_stalls():
    one = layer()
    config = load_config("sparten", ["dram.bytes_per_cycle=2.0", "dram.latency_cycles=10"])
    (narrow,) = run_masked([[one]], config)
    stored = sum(
        ceil((int(m.sum()) + m.size / 8) / 64) * 64 for m in (one.weights, one.activations)
    )
    moved = stored + 144 * 48
    assert sum(narrow.bytes_by_cause.values()) == moved
    array = layer_cost(one, config).cycles
    assert narrow.cycles == max(array, 10 + ceil(moved / 2))
    assert narrow.parts["stall_dram"] == narrow.cycles - array > 0


def test_eyeriss_v2_files(shared):
    text = (shared / "reference" / "eyeriss_v2_cycles.csv").read_text()
    for row in csv.DictReader(x for x in text.splitlines() if not x.startswith("#")):
        path = shared / "data" / "eyeriss_v2" / f"{row['layer']}.npz"
        result = simulate(str(path), "eyeriss_v2_pe")
        assert result.summary["cycles"] == int(row["cycles"])
        assert result.summary["sparsity"] == pytest.approx(1 - float(row["act_density"]), abs=6e-4)


@pytest.fixture(scope="module")
def squeezenet():
    """The weights, and the layers of one picture."""
    from conftest import ROOT

    path = ROOT.parent / "shared/data/models/squeezenet_pruned/squeezenet_dc.npz"
    if not path.is_file():
        pytest.skip("optional inputs in ../shared/data are not at hand")
    data = pytest.importorskip("skimage.data", reason="scikit-image has the pictures")
    weights = load_pruned(path)
    layers, scores = run(weights, prepare(data.chelsea()))
    assert scores.argmax() == 285  # Egyptian cat
    return weights, layers


def effectual(layers):
    return sum(effectual_macs(*x.operands()) for x in layers)


def test_squeezenet_effectual_macs(squeezenet):
    _, layers = squeezenet
    assert len(layers) == 26
    assert sum(x.macs_dense for x in layers) == pytest.approx(861e6, rel=1e-3)
    assert effectual(layers) == pytest.approx(COUNTS["chelsea"], rel=1e-3)


@pytest.mark.slow
def test_squeezenet_effectual_macs_of_all_pictures(squeezenet):
    from skimage import data

    weights, _ = squeezenet
    for name, wanted in COUNTS.items():
        layers, scores = run(weights, prepare(getattr(data, name)()))
        assert effectual(layers) == pytest.approx(wanted, rel=1e-3), name
        if name == "coffee":
            assert scores.argmax() == 967  # espresso


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_squeezenet_runs_whole(engine, squeezenet):
    """Real masks of a whole pruned network; no published figure is of this one, but each machine
    must gain and none more than the zeros allow."""
    _, layers = squeezenet
    result = simulate_masked("squeezenet", [layers], load_config(engine))
    summary = result.summary
    assert summary["macs_effective"] == effectual(layers)
    ideal = summary["macs_dense"] / summary["macs_effective"]
    assert 1.05 < summary["speedup"] <= ideal * (1 + 1e-12)
    if engine == "cnvlutin":
        assert 1.24 <= summary["speedup"] <= 1.55  # published range, on other networks


def small_network(path):
    """Convolutions with groups, stride and padding, one of them 1 x 1, and a matrix product."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((8, 3, 3, 3)),
        "w2": rng.standard_normal((12, 4, 1, 1)) * (rng.random((12, 4, 1, 1)) < 0.5),
        "w3": rng.standard_normal((12 * 9, 5)),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "one", strides=[2, 2], pads=[1, 0, 0, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], "two", group=2),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["e"]),
        helper.make_node("MatMul", ["e", "w3"], ["y"], "three"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_onnx_network_on_a_real_input(tmp_path):
    """The masks of a network: every multiply of its products that is not by zero."""
    path = small_network(tmp_path / "small.onnx")
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    counted = 0

    def hook(node, a, b, z):
        nonlocal counted
        counted += effectual_macs(a, b.T)

    forward(load_onnx(path, batch=2), {"x": x}, hook=hook)
    inputs = load_masked(path, tmp_path / "x.npy").inputs
    assert [len(layers) for layers in inputs] == [3, 3]
    found = sum(
        effectual_macs(*each.operands(group))
        for layers in inputs
        for each in layers
        for group in range(each.groups)
    )
    assert found == counted > 0
    for engine in ENGINES:
        result = simulate(str(path), engine, source=tmp_path / "x.npy")
        assert result.summary["macs_effective"] == counted
        assert result.frames == 2


def test_networks_without_masks(tmp_path):
    network = load_onnx(small_network(tmp_path / "small.onnx"))
    odd = replace_fields(
        network,
        nodes=tuple(
            replace_fields(node, attrs=dict(node.attrs) | {"dilations": [2, 2]})
            if node.name == "one"
            else node
            for node in network.nodes[:1]
        ),
    )
    with pytest.raises(ValueError, match=r"one: dilation must be 1, but got \(2, 2\)"):
        network_masks(odd, {"x": np.zeros((1, 3, 6, 6), np.float32)})
    nothing = replace_fields(network, nodes=())
    with pytest.raises(ValueError, match="no convolution or product with constant weights"):
        network_masks(nothing, {"x": np.zeros((1, 3, 6, 6), np.float32)})


def test_matrix_products_have_masks():
    network = load_onnx(find("nsnet2"), batch=2, dims={"frames": 7})
    x = np.random.default_rng(0).standard_normal((2, 7, 161)).astype(np.float32)
    layers = network_masks(network, {network.inputs[0]: x})[1]
    assert [each.taps for each in layers] == [161, 400, 600, 600]
    assert [each.pixels for each in layers] == [7] * 4
    assert layers[2].activations.mean() < 0.9  # behind ReLU


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["units=null"], "units must be given for engine sparten, but got none"),
        (["rows=3"], "rows must be null for engine sparten, which has none, but got 3"),
        (["chunk=100"], "chunk must be a multiple of 64, but got 100"),
        (["units=0"], "units: input should be greater than or equal to 1, but got 0"),
        (["engine=tpu"], "engine: input should be 'eyeriss_v2_pe'"),
    ],
)
def test_bad_configuration(overrides, message):
    with pytest.raises(UserError, match=message):
        load_config("sparten", overrides)


def test_fields_of_other_engines():
    config = load_config("scnn")
    assert isinstance(config, MacSkipConfig)
    assert config.peak_macs_per_s == 1024 * config.clock_hz
    with pytest.raises(ValueError, match="engine scnn has no lanes"):
        config.count("lanes")
    with pytest.raises(UserError, match="banks must be a power of two, but got 12"):
        replace(config, {"banks": 12})


def test_bad_workloads(tmp_path):
    def refused(name, message, source=None):
        with pytest.raises(UserError, match=message) as error:
            simulate(str(tmp_path / name), "sparten", source=source)
        assert "\n" not in str(error.value)

    refused("resnet", "takes an .onnx file with --input, or an .npz")
    refused("none.npz", "cannot read .*No such file")
    (tmp_path / "text.npz").write_text("no archive")
    refused("text.npz", "is not a .npz file of numbers")
    np.savez(tmp_path / "odd.npz", iacts=np.ones((4, 3)), weights=np.ones((4, 2)))
    refused("odd.npz", r"must have as many channels, but got \(4, 3\) and \(4, 2\)")
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    refused("other.npz", "must hold SqueezeNet's weights, but has no conv1:w")
    np.savez(tmp_path / "good.npz", iacts=np.ones((4, 3)), weights=np.ones((5, 3)))
    assert simulate(str(tmp_path / "good.npz"), "eyeriss_v2_pe").summary["cycles"] == 60
    refused("good.npz", "holds masks already: --input must not be given", tmp_path / "x.npy")
    refused("net.onnx", "give one with --input FILE.npy")
    np.save(tmp_path / "nan.npy", np.array([[np.nan]]))
    refused("net.onnx", "every value must be finite", tmp_path / "nan.npy")
    refused("net.onnx", "cannot read", tmp_path / "gone.npy")
    (tmp_path / "text.npy").write_text("no array")
    refused("net.onnx", "is not a .npy file of numbers", tmp_path / "text.npy")
    with pytest.raises(UserError, match="there must be at least one input"):
        simulate_masked("x", [], load_config("sparten"))


def test_pictures():
    pytest.importorskip("skimage", reason="scikit-image resizes")
    flat = prepare(np.full((40, 60, 3), (10, 20, 30), np.uint8))
    assert flat.shape == (3, 227, 227)
    assert np.allclose(flat[:, 0, 0], (30 - 104, 20 - 117, 10 - 123))
    with pytest.raises(ValueError, match="a picture must be uint8"):
        prepare(np.zeros((4, 4), np.uint8))
