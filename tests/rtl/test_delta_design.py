"""The delta engine's Verilog: clean, whole, and its streamer and queue word by word."""

from __future__ import annotations

import gc
import pickle
from importlib import resources

import numpy as np
import pytest

from hwsim.config import load_config
from hwsim.dataflows.delta_layer import LayerGeometry
from hwsim.delta_cases import pack_config
from hwsim.delta_random import designs
from hwsim.errors import UserError
from hwsim.models.delta import Conv, Output
from hwsim.rtl.blocks import block_verilog, blocks_of
from hwsim.rtl.delta_engine import DeltaChain, delta_parts
from hwsim.rtl.delta_parts import EventQueue, entry_layout, event_layout
from hwsim.rtl.delta_streamer import DELTA_STREAMER
from hwsim.rtl.simulator import build, lint
from hwsim.rtl.verilog import component_verilog, generate_verilog, ports
from hwsim.verify_words import field_bits, pack_words

SHAPE = designs(load_config("delta"))[1].shape
WAIVERS = resources.files("hwsim.rtl") / "lint.vlt"


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [("delta", []), ("delta", ["chain=2", "sigma_words=64"]), ("edgedrnn", ["table_bits=6"])],
)
def test_the_verilog_lints_clean(preset, overrides):
    config = load_config(preset, overrides)
    text = generate_verilog(config)
    with resources.as_file(WAIVERS) as waivers:
        assert lint(text, "delta_top", waivers) == ""
    assert text.count("module delta_lane(") == 1  # repeated parts are written once
    assert f"// chain: {config.chain}" in text


@pytest.mark.parametrize("preset", ["delta", "edgedrnn"])
def test_blocks_are_designs_of_their_own(preset):
    config = load_config(preset)
    names = set(blocks_of(config))
    assert names == {"scanner", "streamer", "lanes", "engine", "axi"} | (
        {"gates"} if config.engine == "gru" else {"output"}
    )
    text, top = block_verilog("streamer", config)
    assert top == DELTA_STREAMER
    assert f"module {top}(" in text
    with pytest.raises(UserError, match="pool"):
        block_verilog("pool", config)


def test_ports():
    one = ports(load_config("delta"))
    assert list(one) == ["config", "parameters", "x", "w_request", "w", "o"]
    assert one["x"] == {"direction": "input", "payload_bits": 4 * 9}
    assert one["w"] == {"direction": "input", "payload_bits": 4 * 8}
    assert one["parameters"]["payload_bits"] == 4 * (24 + 16)
    chain = ports(load_config("delta", ["chain=2"]))
    assert {"w0", "w1", "w_request1", "config1", "x", "o"} < set(chain)
    gru = ports(load_config("edgedrnn"))
    assert gru["start"] == {"direction": "input", "payload_bits": 8 * 24}
    assert gru["o"] == {"direction": "output", "payload_bits": 8 * 16}


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_sizes_are_checked():
    with pytest.raises(UserError, match="the RTL of a delta engine is one cluster, but got 4"):
        generate_verilog(load_config("dal"))
    with pytest.raises(UserError, match="the training engine is sat's"):
        generate_verilog(load_config("delta"), training=True)
    with pytest.raises(ValueError, match=r"a chain must have two layers or more .* got gru=True"):
        DeltaChain(load_config("edgedrnn").shape, 2)
    with pytest.raises(ValueError, match="depth >= 1 must hold, but got 0"):
        EventQueue(8, 0)
    gc.collect()  # the refused components warn that they are unused: here, not in another test


def run(verilog, top, cases, tmp_path):
    source, target = tmp_path / "cases", tmp_path / "results"
    source.write_bytes(pickle.dumps(cases))
    build(verilog, top).run(
        "hwsim.rtl.bench_stream", {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
    )
    return pickle.loads(target.read_bytes())


@pytest.mark.xdist_group("rtl-delta-units")
class TestStreams:
    def test_a_full_queue_takes_a_word_as_one_leaves(self, tmp_path):
        words = np.random.default_rng(0).integers(0, 256, 60).tolist()
        gaps = ([], []), ([0, 0, 3], [0, 5, 0, 0]), ([], [9] + [0] * 60), ([0, 2], [1])
        cases = [
            {
                "set": {}, "sources": {"i": (words, gap_i)}, "sinks": {"o": (60, gap_o)},
                "limit": 2000, "watch": 5,
            }
            for gap_i, gap_o in gaps
        ]  # fmt: skip
        verilog = component_verilog({"queue": EventQueue(8, 3)})
        results = [r["o"] for r in run(verilog, "queue", cases, tmp_path)]
        assert all(r["words"] == words and not r["extra"] for r in results)
        assert results[0]["cycles"] == list(range(1, 61))
        # full until cycle 9, then a word a cycle although it is full at the start of each
        assert results[2]["cycles"] == list(range(9, 69))

    @pytest.mark.parametrize(
        ("stride", "pad", "kernel"), [(1, 1, (3, 3)), (2, 2, (3, 2)), (3, 0, (1, 1))]
    )
    def test_the_streamer_asks_for_what_the_convolution_needs(self, stride, pad, kernel, tmp_path):
        channels, height, width, filters = 3, 5, 4, 5
        layer = Conv(
            np.zeros((filters, channels, *kernel), np.int64),
            Output(bias=np.zeros(filters, np.int64), multiplier=np.zeros(filters), shift=0),
            stride=stride,
            pad=pad,
        )
        g = LayerGeometry.of(layer, (channels, height, width))
        words = g.out_words(SHAPE.lanes)
        config = pack_config(
            SHAPE,
            {
                "stride": stride, "kernel_h": kernel[0], "kernel_w": kernel[1],
                "last_y": g.out_height - 1, "last_x": g.out_width - 1, "out_words": words,
                "weight_channel": kernel[0] * kernel[1] * words, "weight_row": kernel[1] * words,
                "sigma_row": g.out_width * words,
            },
            partial=True,
        )  # fmt: skip
        events, requests, entries = [], [], []
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    last = (y, x, c) == (height - 1, width - 1, channels - 1)
                    nonzero = (y + x + c) % 3 != 0
                    delta = (17 * y - 5 * x + c if nonzero else 0) or int(nonzero)
                    events.append((delta, nonzero, last, c, y + pad, x + pad))
                    mine = []
                    for ky in range(kernel[0]):
                        for kx in range(kernel[1]):
                            oy, ox = (y + pad - ky) / stride, (x + pad - kx) / stride
                            if oy in range(g.out_height) and ox in range(g.out_width) and nonzero:
                                for b in range(words):
                                    number = ((c * kernel[0] + ky) * kernel[1] + kx) * words + b
                                    place = (int(oy) * g.out_width + int(ox)) * words + b
                                    mine.append((number, place))
                    requests += [number for number, _ in mine]
                    places = [(place, 1) for _, place in mine] or [(None, 0)]
                    for i, (place, reads) in enumerate(places):
                        entries.append((place, delta, reads, last and i + 1 == len(places)))
        table = np.array(events)
        layout, out = event_layout(SHAPE), entry_layout(SHAPE)
        fields = [table[:, 0], table[:, 1], table[:, 2], table[:, 3]]
        for coordinate in (table[:, 4], table[:, 5]):
            fields += [coordinate // stride, coordinate % stride]
        packed = pack_words(
            *[
                field_bits(f.astype(np.int64).view(np.uint64), field.width)
                for f, (_, field) in zip(fields, layout, strict=True)
            ]
        )
        gaps = [([], [], []), ([0, 1, 0], [0, 2, 0, 0, 3], [4, 0, 0])]
        cases = [
            {
                "set": {"config": config}, "sources": {"i": (packed, a)},
                "sinks": {"request": (len(requests), b), "o": (len(entries), c)},
                "limit": 4000, "watch": 5,
            }
            for a, b, c in gaps
        ]  # fmt: skip
        verilog = component_verilog({DELTA_STREAMER: delta_parts(SHAPE)[DELTA_STREAMER]()})
        for result in run(verilog, DELTA_STREAMER, cases, tmp_path):
            assert result["request"]["words"] == requests
            found = [
                tuple(
                    (word >> out[name].offset) & ((1 << out[name].width) - 1)
                    for name in ("address", "delta", "weights", "last")
                )
                for word in result["o"]["words"]
            ]
            mask = (1 << SHAPE.delta_bits) - 1
            assert [(f[0] if f[2] else None, f[1], f[2], f[3]) for f in found] == [
                (p, d & mask, r, int(closes)) for p, d, r, closes in entries
            ]
        # a word a cycle: entries two cycles after their turn
        first = run(verilog, DELTA_STREAMER, cases[:1], tmp_path)[0]
        assert first["o"]["cycles"] == list(range(2, 2 + len(entries)))
