"""Training steps on the array: rows, traffic by hand, methods, switches, scheduling."""

from __future__ import annotations

from math import ceil

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from hwsim.api import simulate
from hwsim.config import SatConfig, load_config, replace
from hwsim.dataflows.sore import topn_cycles
from hwsim.dataflows.stce import OS, WS, gemm_cycles
from hwsim.dataflows.wuve import update_cycles
from hwsim.engine import pattern_of, predict, run_layer
from hwsim.errors import UserError
from hwsim.memory import a_bytes, b_bytes, b_reduced, geometry_array, out_bytes, side_bytes
from hwsim.models.lowering_training import lower_training
from hwsim.models.nm import parse_pattern
from hwsim.models.pruning import METHODS
from hwsim.models.work import ConvGeometry, Gemm, Update, Vector
from hwsim.models.zoo import build
from hwsim.training import compact_bytes, placed, run_training

PARTS = ("issue", "array_idle", "stall_dram", "fill", "drain")
PIPELINE = ["adder_latency=4", "interleave=4", "multiplier_latency=2"]


def sat(*overrides):
    return load_config("sat", [*PIPELINE, *overrides])


def small(*overrides):
    return sat("rows=4", "cols=4", "psum_depth=8", *overrides)


@pytest.fixture(scope="module")
def resnet9():
    return lower_training(build("resnet9", batch=4))


def by_stage(runs, layer):
    """Rows of a layer by stage, its BP phases apart."""
    return {r.work.stage: r for r in runs if r.work.layer == layer}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pregeneration", [True, False])
def test_rows_sum_to_their_parts_whatever_the_method(resnet9, method, pregeneration):
    config = sat(f"method={method}", f"pregeneration={str(pregeneration).lower()}")
    runs = run_training(resnet9, config)
    for r in runs:
        assert r.cycles == sum(getattr(r, part) for part in PARTS)
        assert min(getattr(r, part) for part in PARTS) >= 0
        assert r.dram_read_bytes == r.counters.get("dram.read", 0)
        assert r.dram_write_bytes == r.counters.get("dram.write", 0)
    # N:M in the stages that the method names, and nowhere else
    pruned = {s: {r.sparsity for r in runs if r.work.stage == s} for s in ("FF", "BP", "WU")}
    rule = METHODS[method]
    assert pruned["WU"] == {"dense"}
    assert pruned["FF"] == ({"dense", "2:8"} if rule.forward else {"dense"})
    assert pruned["BP"] == ({"dense", "2:8"} if rule.backward else {"dense"})
    stages = {r.work.stage for r in runs}
    assert stages >= {"FF", "BP", "WU", "WUVE"}
    assert ("SORE" in stages) == bool(rule.forward or rule.backward)
    # the first layer stays dense, so nothing of it is selected
    assert "SORE" not in by_stage(runs, "prep.conv")
    for r in runs:
        if isinstance(r.work, Gemm):
            g = r.work
            kept = g.k if r.sparsity == "dense" else g.k // 8 * 2 + min(2, g.k % 8)
            assert r.macs_effective == g.m * g.n * kept * g.count


def test_the_configuration_s_methods_are_those_of_the_models():
    for name in METHODS:
        assert sat(f"method={name}").method == name
    with pytest.raises(UserError, match=r"^method: input should be 'dense', 'sr_ste'"):
        sat("method=magic")


def test_inference_prunes_what_the_method_prunes_forward():
    gemm = Gemm(layer="g", op="Gemm", m=4, n=4, k=64)
    for name, method in METHODS.items():
        assert pattern_of(gemm, sat(f"method={name}")).dense == (not method.forward)


@pytest.mark.parametrize(("pattern", "each"), [("2:4", 1.125), ("2:8", 0.59375), ("2:16", 0.3125)])
def test_compact_bytes_of_a_weight(pattern, each):
    gemm = Gemm(layer="g", op="Gemm", m=1, n=64, k=1024)
    assert compact_bytes(gemm, parse_pattern(pattern)) == each * 64 * 1024
    assert compact_bytes(gemm, parse_pattern("dense")) == 2 * 64 * 1024


def test_traffic_of_a_layer_by_hand():
    """fc2 of digits_mlp, 64 -> 32, batch 32, 2:8: everything fits, so everything moves once."""
    runs = run_training(lower_training(build("digits_mlp", batch=32)), sat())
    rows = by_stage(runs, "fc2")
    weights = 64 * 32
    compact = weights // 4 * 2 + weights // 4 * 3 // 8  # values, then 3 bits of index each
    assert compact == 1024 + 192
    x, y = 32 * 64 * 2, 32 * 32 * 2
    # FF reads X and W, writes Y and one bit an output of the ReLU behind it
    assert (rows["FF"].dram_read_bytes, rows["FF"].dram_write_bytes) == (x + compact, y + y // 16)
    # BP reads dY, W by output channels and the mask of the ReLU before it, writes dX
    assert (rows["BP"].dram_read_bytes, rows["BP"].dram_write_bytes) == (y + compact + x // 16, x)
    # WU reads X and dY; dW stays in the output buffer
    assert (rows["WU"].dram_read_bytes, rows["WU"].dram_write_bytes) == (x + y, 0)
    # the update reads and writes FP32 weights, momenta and 32 biases, and writes both copies
    both = 2 * 4 * (weights + 32)
    assert rows["WUVE"].dram_read_bytes == both
    assert rows["WUVE"].dram_write_bytes == both + 2 * compact
    assert (rows["SORE"].dram_read_bytes, rows["SORE"].dram_write_bytes) == (0, 0)
    assert rows["SORE"].counters["sat.sore.element"] == 2 * weights
    # every map that WU reads was kept, and no other
    assert simulate("digits_mlp", sat(), phase="training", batch=32).summary["kept_bytes"] == (
        2 * 32 * (64 + 64 + 32) + 32 * (64 + 32) // 8
    )


def test_a_gradient_that_does_not_fit_goes_through_dram_in_fp32():
    gemm = Gemm(layer="g", op="Gemm", m=512, n=512, k=64, stage="WU", weights=False, role="at")
    update = Update(layer="g", op="Gemm", weights=512 * 512)
    fits, not_fits = sat("buffers.output_bytes=2097152"), sat("buffers.output_bytes=1048576")
    assert placed(gemm, fits).z_bits == 0
    assert placed(gemm, not_fits).z_bits == 32
    inside, outside = (run_training([gemm, update], c) for c in (fits, not_fits))
    assert inside[0].dram_write_bytes == 0
    assert outside[0].dram_write_bytes == 4 * 512 * 512
    assert outside[1].dram_read_bytes - inside[1].dram_read_bytes == 4 * 512 * 512


def test_update_and_selection_take_their_engines_cycles():
    """200 x 96 weights and 5 biases on 8 lanes each; memory out of the way."""
    forward = Gemm(layer="g", op="Gemm", m=7, n=96, k=200)
    backward = Gemm(layer="g", op="Gemm", m=7, n=200, k=96, stage="BP")
    item = Update(
        layer="g", op="Gemm", weights=19200, others=5, forward=(forward,), backward=(backward,)
    )
    config = sat("wuve_lanes=8", "sore_lanes=8", "dram.bytes_per_cycle=null")
    wuve, sore = run_training([item], config)
    assert wuve.cycles == update_cycles(19205, 8, 2, 4) == ceil(19205 / 8) + 2 * (2 + 2) + 3 * 4 + 1
    busy = topn_cycles(np.array([200 * 12])) + topn_cycles(np.array([96 * 25]))
    assert sore.counters["sat.sore.busy"] == busy == 2400 + 2400 + 4
    assert sore.cycles == busy - wuve.cycles
    slow = replace(config, {"dram.bytes_per_cycle": 1.0, "dram.channels": 1})
    wuve, sore = run_training([item], slow)
    assert wuve.stall_dram > 0
    assert sore.cycles == 0  # hidden behind the update's traffic


def test_without_pregeneration_dense_weights_come_in_and_are_selected_there():
    gemm = Gemm(layer="g", op="Gemm", m=64, n=96, k=200)
    update = Update(layer="g", op="Gemm", weights=19200, forward=(gemm,))
    config = sat("pregeneration=false")
    product, selector, update_row = run_training([gemm, update], config)
    compact = run_training([gemm, update], sat())
    dense_bytes, few = 2 * 19200, ceil(compact_bytes(gemm, parse_pattern("2:8")) / 64) * 64
    assert product.dram_read_bytes - compact[0].dram_read_bytes == dense_bytes - few
    assert product.cycles >= compact[0].cycles
    assert (selector.work.stage, selector.sparsity) == ("SORE", "2:8")
    assert product.counters["sat.sore.element"] == 19200
    assert selector.counters["sat.sore.busy"] == 3 * 200  # three blocks of 32 columns
    # nothing runs behind the first block: what its load does not hide is waited for
    assert product.tile[1] == 32
    assert selector.cycles == selector.issue == 200 - product.fill
    # one dense copy in place of the compact one
    written = update_row.dram_write_bytes - compact[1].dram_write_bytes
    assert written == dense_bytes - few
    assert update_row.work.stage == "WUVE"


def test_a_pruned_gradient_runs_turned_and_is_selected_on_its_way_in():
    gemm = Gemm(layer="g", op="Gemm", m=96, n=64, k=48, stage="BP")
    config = sat("method=sdgp")
    run = placed(gemm, config)
    assert (run.m, run.n, run.k, run.online, run.role) == (64, 96, 48, True, "bt")
    product, selector = run_training([gemm], config)
    assert product.macs_effective * 4 == product.macs_dense == gemm.macs
    assert product.counters["sat.sore.element"] == 96 * 48  # dY, once
    # W and dY dense, dX out
    assert product.dram_read_bytes == 2 * (64 * 48 + 96 * 48)
    assert selector.work.stage == "SORE"


def convs():
    return st.builds(
        lambda size, kernel, stride, channels, filters, batch: _conv(
            size, min(kernel, size), stride, channels, filters, batch
        ),
        st.integers(2, 12), st.integers(1, 4), st.integers(1, 3), st.integers(1, 40),
        st.integers(1, 40), st.integers(1, 4),
    )  # fmt: skip


def _conv(size, kernel, stride, channels, filters, batch):
    out = (size - kernel) // stride + 1
    g = ConvGeometry(
        batch=batch, height=size, width=size, channels=channels, kernel_h=kernel, kernel_w=kernel,
        stride_h=stride, stride_w=stride, out_h=out, out_w=out,
    )  # fmt: skip
    return Gemm(
        layer="c", op="Conv", m=batch * out * out, n=filters, k=kernel * kernel * channels, conv=g
    )


def weight_gradients():
    plain = st.builds(
        Gemm, layer=st.just("g"), op=st.just("Gemm"), m=st.integers(1, 90), n=st.integers(1, 60),
        k=st.integers(1, 300), weights=st.just(False), stage=st.just("WU"), role=st.just("at"),
        count=st.integers(1, 2),
    )  # fmt: skip
    return st.one_of(plain, convs().map(_gradient))


def _gradient(forward):
    from hwsim.models.backward_products import weight_gradient

    return weight_gradient(forward)


TIGHT = ["buffers.input_bytes=8192", "buffers.weight_bytes=8192", "buffers.output_bytes=4096"]


@given(gemm=weight_gradients(), tight=st.booleans(), z_bits=st.sampled_from([None, 0, 32]))
def test_weight_gradients_in_both_orientations(gemm, tight, z_bits):
    config = small(*(TIGHT if tight else ()), "dram.bytes_per_cycle=3.0")
    gemm = Gemm(**(vars(gemm) | {"z_bits": z_bits}))
    for item in (gemm, gemm.turned()):
        r = run_layer(item, config)
        assert r.cycles == sum(getattr(r, part) for part in PARTS)
        assert r.macs_dense == r.macs_effective == gemm.macs
        outputs = gemm.m * gemm.n * gemm.count
        assert r.dram_write_bytes >= outputs * {None: 2, 0: 0, 32: 4}[z_bits]
        assert (r.dram_write_bytes == 0) == (z_bits == 0)
    # either orientation is offered, so the order in which it was asked for does not matter
    assert run_layer(gemm, config).cycles == run_layer(gemm.turned(), config).cycles


@given(gemm=weight_gradients(), dataflow=st.sampled_from(["os", "ws"]))
def test_a_weight_gradient_s_tiles_fit_and_move_what_its_walk_says(gemm, dataflow):
    """Every tile by its own bytes: operands fit half a buffer and are fetched when they change."""
    config = small(f"dataflow={dataflow}", *TIGHT, "dram.burst_bytes=1")
    run = run_layer(gemm, config)
    g, (tm, tn, tk) = run.work, run.tile
    geometry, half = geometry_array(g), config.buffers.input_bytes // 2
    assert tm * tn * 4 <= config.buffers.output_bytes // 2
    assert tk == g.k or (tn <= (16 if dataflow == "os" else 4) and tm <= (8, 4)[dataflow == "os"])
    starts = [range(0, extent, by) for extent, by in ((g.m, tm), (g.n, tn), (g.k, tk))]
    a, b = {}, {}
    for k0 in starts[2]:
        deep = min(tk, g.k - k0)
        for m0 in starts[0]:
            runs, amount = a_bytes(geometry, g.m, g.k, m0, min(g.m, m0 + tm), k0, deep, 2)
            a[m0, k0] = runs * amount
        for n0 in starts[1]:
            runs, amount = b_bytes(geometry, g.n, g.k, n0, min(g.n, n0 + tn), k0, deep, 2, 0)
            b[n0, k0] = runs * amount
    assert max(*a.values(), *b.values(), 0) <= half
    moved = []
    for outer in (0, 1):  # m outside n, n outside m
        total, held = 0, (None, None)
        for i in starts[outer]:
            for j in starts[1 - outer]:
                m0, n0 = (i, j) if outer == 0 else (j, i)
                for k0 in starts[2]:
                    total += a[m0, k0] * (held[0] != (m0, k0)) + b[n0, k0] * (held[1] != (n0, k0))
                    held = (m0, k0), (n0, k0)
        moved.append(total * g.count)
    assert run.dram_read_bytes in moved


@given(gemm=weight_gradients(), data=st.data())
def test_a_tile_costs_the_same_from_either_side(gemm, data):
    """A's tile of the product is B's tile of the turned one."""
    m0 = data.draw(st.integers(0, gemm.m - 1))
    m1 = data.draw(st.integers(m0 + 1, gemm.m))
    k0 = data.draw(st.integers(0, gemm.k - 1))
    deep = data.draw(st.integers(1, gemm.k - k0))
    one, other = geometry_array(gemm), geometry_array(gemm.turned())
    there = a_bytes(one, gemm.m, gemm.k, m0, m1, k0, deep, 2)
    assert there == b_bytes(other, gemm.m, gemm.k, m0, m1, k0, deep, 2, 0)
    runs, amount = there
    assert runs * amount <= (m1 - m0) * deep * 2
    if gemm.conv is None or (m1 - m0 == gemm.m and deep == gemm.k and not _skips(gemm.conv)):
        unique = (m1 - m0) * deep * 2
        if gemm.conv is not None:
            g = gemm.conv
            unique = min(unique, g.batch * g.height * g.width * g.channels * 2)
        assert runs * amount == unique


def _skips(g):
    return (g.out_h - 1) * g.stride_h + g.kernel_h < g.height or g.stride_h > g.kernel_h


def test_side_streams_by_hand():
    """33 bits read and 17 written beside 10 x 64 outputs: whole maps by rows, masks packed."""
    gemm = Gemm(layer="g", op="Gemm", m=10, n=128, k=8, side_read_bits=33, side_write_bits=17)
    g = geometry_array(gemm)
    mask = 128  # 640 bits are 80 bytes, two bursts
    assert side_bytes(g, 10, 64, 128, 64) == 2 * 10 * 128 + mask
    assert out_bytes(g, 10, 64, 128, 2, 64) == 2 * 10 * 128 + mask
    assert side_bytes(g, 10, 128, 128, 64) == 2 * 2560 + 192
    assert b_reduced(g, 1, 999, 2, 8, 64, 32) == (0, 0)  # nothing is selected


@pytest.mark.parametrize("mode", [OS, WS])
@given(m=st.integers(1, 40), n=st.integers(1, 20), k=st.integers(1, 60))
def test_a_weight_gradient_takes_the_array_s_own_cycles(mode, m, n, k):
    """Its m is cut into chunks of equal height; os does not cut it."""
    config = small(
        f"dataflow={'os' if mode == OS else 'ws'}", "dram.bytes_per_cycle=null",
        "dram.latency_cycles=0",
    )  # fmt: skip
    gemm = Gemm(layer="g", op="Gemm", m=m, n=n, k=k, weights=False, role="at", z_bits=0)
    laws = []
    for rows, columns in ((m, n), (n, m)):
        height = ceil(rows / ceil(rows / 8))
        shape = replace(config, {"psum_depth": 8}).array
        if mode == WS:
            from dataclasses import replace as changed

            shape = changed(shape, psum_depth=max(2, height))
        laws.append(gemm_cycles(mode, rows, columns, k, shape))
    assert run_layer(gemm, config).cycles <= max(laws) + 40  # a short last fold leaves early
    assert run_layer(gemm, config).cycles >= min(laws)


@pytest.mark.parametrize("name", ["resnet9", "vit_small"])
def test_the_prediction_is_the_simulation_and_auto_takes_the_smaller(name):
    config = sat()
    fixed = {d: replace(config, {"dataflow": d}) for d in ("os", "ws")}
    seen = set()
    for item in lower_training(build(name, batch=2)):
        if not isinstance(item, Gemm) or (item.m, item.n, item.k, item.stage) in seen:
            continue
        seen.add((item.m, item.n, item.k, item.stage))
        item = placed(item, config)
        predicted = predict(item, config)
        assert set(predicted) == {"os", "ws"}
        for dataflow, cycles in predicted.items():
            assert run_layer(item, fixed[dataflow]).cycles == cycles
        assert run_layer(item, config).cycles == min(predicted.values())
    assert {stage for *_, stage in seen} == {"FF", "BP", "WU"}


def test_each_switch_makes_a_step_longer_where_it_can():
    work = lower_training(build("resnet18", batch=2))

    def cycles(*overrides):
        return sum(r.cycles for r in run_training(work, sat(*overrides)))

    full, os = cycles(), cycles("dataflow=os")
    assert cycles("interleave=1") >= full
    assert cycles("pregeneration=false") > full
    assert min(os, cycles("dataflow=ws")) > full
    # without interleaving, an output-stationary array waits for its adder: L = 4
    assert 2.5 * os < cycles("dataflow=os", "interleave=1") < 4.1 * os  # element-wise passes too


def test_an_onnx_network_trains(tmp_path):
    rng = np.random.default_rng(0)

    def weights(name, *shape):
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1"], ["a"], name="first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Conv", ["b", "w2"], ["c"], name="second", strides=[2, 2]),
            helper.make_node("Flatten", ["c"], ["d"], name="flat"),
            helper.make_node("Gemm", ["d", "w3"], ["y"], name="head"),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3, 9, 9])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 10])],
        [weights("w1", 8, 3, 3, 3), weights("w2", 16, 8, 3, 3), weights("w3", 16 * 16, 10)],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    result = simulate(path, "sat", phase="training", batch=2)
    macs = {"first": 2 * 81 * 27 * 8, "second": 2 * 16 * 72 * 16, "head": 2 * 256 * 10}
    by = {}
    for row in result.rows:
        layer = row["layer"].split("[")[0]
        by[layer, row["stage"]] = by.get((layer, row["stage"]), 0) + row["macs_dense"]
    for layer, count in macs.items():
        assert by[layer, "FF"] == by[layer, "WU"] == count
        assert (layer, "WUVE") in by
    assert by["head", "BP"] == macs["head"]
    # a map of 9 x 9 behind windows of stride 2 has phases of 5 x 5, 5 x 4, 4 x 5 and 4 x 4
    assert by["second", "BP"] == 2 * 8 * 16 * (25 * 4 + 20 * 2 + 20 * 2 + 16)
    assert ("first", "BP") not in by
    assert set(result.summary["stage_cycles"]) >= {"FF", "BP", "WU", "SORE", "WUVE"}
    assert sum(result.summary["stage_cycles"].values()) == result.summary["cycles"]


def test_element_wise_passes_take_an_operation_a_lane_and_cycle():
    item = Vector(
        layer="v", stage="BP", op="LayerNormalization", elements_in=2000, elements_out=1000,
        operations=12000, lane_steps=2000, read_bits=1000,
    )  # fmt: skip
    run = run_layer(
        item, sat("vector_lanes=10", "dram.bytes_per_cycle=null", "dram.latency_cycles=0")
    )
    assert (run.cycles, run.stall_dram) == (1200, 0)
    assert run.counters["engine.vector_op"] == 12000
    assert run.dram_read_bytes == 63 * 64 + 128  # 4000 bytes of maps, 125 of masks


def test_what_cannot_train_says_so():
    work = lower_training(build("digits_mlp"))
    with pytest.raises(
        UserError, match=r"^training needs an accelerator of kind sat, but systolic"
    ):
        run_training(work, load_config("systolic"))
    with pytest.raises(UserError, match=r"^training needs format=fp16, but got format=int8$"):
        run_training(work, sat("format=int8"))
    with pytest.raises(UserError, match=r"^g: a weight update runs in training only$"):
        run_layer(Update(layer="g", op="Gemm", weights=1), sat())
    with pytest.raises(UserError, match=r"^training of recurrent layers is not modelled, but gru0"):
        simulate("gru", "sat", phase="training")


def test_dense_training_has_no_selector(resnet9):
    runs = run_training(resnet9, sat("sparsity=dense"))
    assert not [r for r in runs if r.work.stage == "SORE"]
    assert all(r.macs_dense == r.macs_effective for r in runs)
    assert isinstance(sat("sparsity=dense"), SatConfig)
