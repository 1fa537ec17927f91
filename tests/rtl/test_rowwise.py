"""The row-wise engine's Verilog: lint, ports, blocks, constants shared with the simulator."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import hwsim.rtl
from hwsim import verify_spgemm as verification
from hwsim.config import load_config, replace
from hwsim.dataflows.rowwise_kernel import WINDOW_COUNTERS
from hwsim.dataflows.rowwise_ports import PORT_QUEUE, PORTS
from hwsim.dataflows.rowwise_sim import RowwiseGaps
from hwsim.design import manifest
from hwsim.errors import UserError
from hwsim.models.spgemm import SparseProduct, product
from hwsim.rtl import rowwise_parts
from hwsim.rtl.blocks import ROWWISE_BLOCKS, block_verilog
from hwsim.rtl.rowwise import rowwise_members
from hwsim.rtl.simulator import lint
from hwsim.rtl.verilog import generate_verilog, ports, top_name
from hwsim.verify_blocks import verify_blocks
from hwsim.workloads_sparse import load_sparse

WAIVERS = Path(hwsim.rtl.__file__).with_name("lint.vlt")
SMALL = ["lanes=2", "banks=2", "entries=8", "outputs=1", "probe_limit=null"]
OTHER = ["lanes=1", "banks=1", "entries=2", "outputs=1", "probe_limit=1", "epoch_bits=1"]


@pytest.mark.parametrize(
    "overrides",
    [
        SMALL,
        [*SMALL, "format=int32"],
        [*OTHER, "row_bits=1", "column_bits=1"],
        pytest.param([], marks=pytest.mark.slow),
    ],
    ids=lambda given: " ".join(given) or "preset",
)
def test_lint_is_clean_with_the_waivers(overrides):
    config = load_config("spgemm", overrides)
    assert top_name(config) == "spgemm_top"
    assert lint(generate_verilog(config), "spgemm_top", WAIVERS) == ""


@pytest.mark.parametrize("name", ROWWISE_BLOCKS)
def test_blocks_lint_clean_by_themselves(name):
    text, top = block_verilog(name, load_config("spgemm", SMALL))
    assert top == ("spgemm_top" if name == "engine" else f"rowwise_{name}")
    assert lint(text, top, WAIVERS) == ""


def test_other_blocks_and_a_training_engine_are_refused():
    config = load_config("spgemm", SMALL)
    with pytest.raises(
        UserError, match="must be one of bank, lane, dispatch, engine, axi, but got 'x'"
    ):
        block_verilog("x", config)
    with pytest.raises(UserError, match="the training engine is sat's, but spgemm is a spgemm"):
        generate_verilog(config, training=True)
    with pytest.raises(UserError, match="the blocks are sat's, but spgemm is a spgemm"):
        verify_blocks(config, 3, 1)


def test_ports_follow_the_configuration():
    config = load_config("spgemm", ["lanes=3", "banks=4", "row_bits=5", "column_bits=11"])
    found = ports(config)
    assert found["job"] == {"direction": "input", "payload_bits": 32 + 6}
    assert found["b_req2"] == {"direction": "output", "payload_bits": 64}
    assert found["b_rsp2"] == {"direction": "input", "payload_bits": 11 + 32}
    assert found["z3"] == {"direction": "output", "payload_bits": 5 + 11 + 32 + 1}
    assert found["done"]["payload_bits"] == 8 * 32
    assert "b_req3" not in found
    assert manifest(config, generate_verilog(config))["ports"] == found


def test_units_are_in_the_verilog_once_and_as_often_as_configured():
    text = generate_verilog(load_config("spgemm", ["lanes=3", "banks=4", "outputs=2"]))
    for module, count in (("rowwise_lane", 3), ("rowwise_bank", 4), ("rowwise_dispatch", 1)):
        assert text.count(f"module {module}(") == 1
        assert sum(line.startswith(f"  {module} ") for line in text.splitlines()) == count


def test_simulator_and_rtl_share_queues_counters_and_ports():
    shape = load_config("spgemm").shape
    assert rowwise_parts.PORT_QUEUE == PORT_QUEUE
    assert rowwise_parts.DONE_FIELDS == WINDOW_COUNTERS
    assert tuple(RowwiseGaps.__dataclass_fields__) == PORTS
    members = {name.rstrip("0123456789") for name in rowwise_members(shape)}
    assert members == {*PORTS, "overflow"}


@pytest.mark.xdist_group("rtl-rowwise")
def test_a_fault_in_the_rtl_is_found_and_located(monkeypatch):
    """A seeded bug in the bank: a tag matches whatever its column."""
    from hwsim.rtl import blocks

    whole = blocks.parts_verilog

    def faulty(parts):
        text, top = whole(parts)
        compare = re.compile(r"= read__data\[\d+:\d+\] == here\[33:10\];")  # columns
        changed, count = compare.subn("= 1'h1;", text)
        assert count == 1
        return changed, top

    monkeypatch.setattr(blocks, "parts_verilog", faulty)
    config = load_config("spgemm", [*SMALL, "format=int32"])
    designs = [replace(config, {"name": "faulty"})]
    monkeypatch.setattr(verification, "spgemm_designs", lambda config: designs)
    report = verification.verify_spgemm(config, cases=4, seed=3)
    assert report.passed < report.cases
    assert report.failures[0].what.startswith("cycle ")
    assert "expected" in report.failures[0].what
    assert "lanes=2 banks=2 entries=8" in report.failures[0].config


def test_counts_and_seeds_are_checked():
    config = load_config("spgemm")
    for given, sentence in (
        ({"cases": 0}, "--cases must be at least 1, but got 0"),
        ({"seed": -1}, "--seed must not be negative, but got -1"),
        ({"cases": 5, "only": 5}, r"--case must lie in 0..4, but got 5"),
    ):
        with pytest.raises(UserError, match=sentence):
            verification.verify_spgemm(config, **given)


@pytest.mark.slow
@pytest.mark.xdist_group("rtl-rowwise")
def test_waveform_of_one_case(tmp_path):
    report = verification.verify_spgemm(
        load_config("spgemm"), cases=8, seed=3, only=2, waves=tmp_path / "case.vcd"
    )
    assert (report.cases, report.ok) == (1, True)
    assert "$var" in (tmp_path / "case.vcd").read_text()


@pytest.mark.xdist_group("rtl-rowwise")
def test_a_graph_squared_runs_from_memories_alone():
    """An R-MAT of 64 vertices: every window, spill passes too; entries equal the golden product's.

    Its values are 1, so sums are exact whatever their order.
    """
    config = load_config("spgemm", [*SMALL, "format=int32", "window_load=1.0"])
    layer = load_sparse("rmat:scale=6,edges=256,seed=1", None, 0).products[0]
    layer = SparseProduct(layer="a a", a=_ones(layer.a), b=_ones(layer.b))
    z, windows, cycles = verification.run_layer(config, layer)
    golden = product(layer.a, layer.b)
    assert (z.indptr == golden.indptr).all()
    assert (z.indices == golden.indices).all()
    assert (z.data == golden.data).all()
    assert windows > 64
    assert cycles > layer.a.nnz


def _ones(x):
    return type(x)(x.shape, x.indptr, x.indices, np.ones(x.nnz, np.int32))


@pytest.mark.slow
@pytest.mark.xdist_group("rtl-rowwise")
def test_a_graph_layer_of_cora_through_the_rtl(shared):
    """The second layer of a GCN: normalised adjacency times dense activations of 7 classes."""
    folder = shared / "data" / "matrices"
    files = f"adjacency={folder / 'cora.mtx.gz'},features={folder / 'cora-features.mtx.gz'}"
    network = load_sparse(f"gcn:{files},hidden=16,classes=7", None, 0)
    layer = network.products[-1]
    config = load_config("spgemm", ["lanes=4", "banks=8", "entries=128", "outputs=2"])
    z, windows, cycles = verification.run_layer(config, layer)
    a, b = (x.astype(np.float32) for x in (layer.a, layer.b))
    golden = product(a, b)
    assert (z.indptr == golden.indptr).all()
    assert (z.indices == golden.indices).all()
    size = np.abs(golden.data).max()
    assert np.abs(z.data - golden.data).max() < 1e-5 * size
    assert windows > 10
    assert cycles > 92848 // config.lanes
