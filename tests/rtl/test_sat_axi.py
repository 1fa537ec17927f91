"""The FPGA-ready top of the sparse array in RTL: lists of layers, errors, reset, streams."""

from __future__ import annotations

import gc
import pickle
from functools import lru_cache

import numpy as np
import pytest
from amaranth.sim import Simulator
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.axi_sat_model import Port, list_cycles
from hwsim.config import SatConfig, load_config, replace
from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_feed import gemm_streams
from hwsim.errors import UserError
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.nm import Compact, compress
from hwsim.models.sat_jobs import GemmJob, a_rows, b_rows, gemm_record
from hwsim.models.shell_map import ERRORS, shell_map
from hwsim.rtl.sat_axi import shell_spec
from hwsim.rtl.sat_dma import ReplayBuffer
from hwsim.sat_layers import Layer, pack_layers
from hwsim.verify_axi import verify_axi
from hwsim.verify_axi_sat import AxiCase, build_axi, run_axi_cases

pytestmark = pytest.mark.xdist_group("rtl-sat-axi")


def machine(**changes: object) -> SatConfig:
    """A 2 x 2 int8 array with memories so small that runs are cut and fetched again.

    That of the results is so large that it is an instance of its own (`hwsim.rtl.ring_memory`).
    """
    shape = ["rows=2", "cols=2", "format=int8", "sparsity=2:4", "psum_depth=16"]
    config = load_config("sat", [*shape, "interleave=1", "adder_latency=1"])
    assert isinstance(config, SatConfig)
    small = {"buffers.input_bytes": 256, "buffers.weight_bytes": 256}
    return replace(config, small | {"buffers.output_bytes": 16384} | changes)


def layer(m: int, n: int, k: int, mode: int = OS, *, kept=None, seed: int = 0, wait=False) -> Layer:
    rng = np.random.default_rng([seed, m, n, k])
    a, b = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((m, k), (k, n)))
    weights = b if kept is None else compress(b, *kept)
    return Layer(name=f"{m}x{n}x{k}", a=a, b=weights, mode=mode, wait=wait)


MIXED = [
    layer(5, 7, 19),
    layer(20, 3, 9, WS),
    layer(7, 5, 32, kept=(2, 4)),
    layer(1, 1, 1, WS),
    layer(18, 6, 24, WS, kept=(2, 4), wait=True),
]


@lru_cache
def built():
    return build_axi(machine())


def golden(one: Layer):
    compact = isinstance(one.b, Compact)
    fmt = machine().number
    return gemm_compact(one.a, one.b, fmt) if compact else gemm(one.a, one.b, fmt)


class Top:
    """Software's side of one case: steps for `hwsim.rtl.bench_shell`."""

    def __init__(self, layers, config=None):
        self.config = config or machine()
        self.image = pack_layers(self.config, layers, base=0x1000)
        self.layers = layers
        registers = shell_map(shell_spec(self.config), self.config.bus.data_bits)
        self.offset = {one.name: one.offset for one in registers.registers}
        self.steps: list[tuple] = []
        self.data = self.image.data.copy()

    def write(self, name, value):
        self.steps.append(("write", self.offset[name], value))
        return self

    def read(self, *names):
        self.steps += [("read", self.offset[name]) for name in names]
        return self

    def start(self, count=None):
        self.write("list_address_lo", self.image.list_address)
        self.write("list_count", count or self.image.count)
        return self.write("irq_enable", 0b011).write("control", 0b101)

    def irq(self, limit=20000):
        self.steps.append(("irq", limit))
        return self

    def do(self, *step):
        self.steps.append(step)
        return self

    def patch(self, job: int, **values):
        """Other values in a descriptor."""
        record = gemm_record(streams=False)
        at = self.image.list_address - self.image.base + job * record.size_bytes
        fields = record.unpack(self.data[at : at + record.size_bytes].tobytes())
        changed = np.frombuffer(record.pack(**fields | values), np.uint8)
        self.data[at : at + record.size_bytes] = changed
        return self

    def case(self, **memory):
        given = {"image": self.data.tobytes(), "base": self.image.base, **memory}
        return {"memory": given, "steps": self.steps, "pauses": memory.get("pause", 0.0)}

    def correct(self, result) -> bool:
        memory = np.frombuffer(result["image"], np.uint8)
        return all(
            (z == golden(one)).all()
            for one, z in zip(self.layers, self.image.results(memory), strict=True)
        )


def run(tops_and_memories, tmp_path, bench="hwsim.rtl.bench_shell", made=None):
    source, target = tmp_path / "cases", tmp_path / "results"
    source.write_bytes(pickle.dumps(tops_and_memories))
    env = {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)}
    (made or built()).run(bench, env)
    return pickle.loads(target.read_bytes())


def test_lists_of_products_bit_for_bit_in_the_array_s_own_cycles():
    """Random pauses on all channels, then fixed latencies, for which the model answers too."""
    config = machine()
    cases = [
        AxiCase(layers=MIXED, latency=(0, 9), pauses=0.3, seed=1),
        AxiCase(layers=MIXED[::-1], latency=(3, 50), pauses=0.05, seed=2),
        AxiCase(layers=[layer(6, 9, 40, WS)], latency=(0, 1), pauses=0.7, seed=3),
        AxiCase(layers=[layer(16, 12, 48)], latency=20),
        AxiCase(layers=[layer(16, 12, 48, kept=(2, 4))], latency=5),
        AxiCase(layers=[layer(24, 8, 24, WS, kept=(2, 4))], latency=33),
        AxiCase(layers=[layer(12, 8, 40), layer(8, 8, 64, kept=(2, 4))], latency=12),
        AxiCase(layers=[layer(12, 8, 40), layer(8, 8, 64, WS, wait=True)], latency=12),
    ]
    layers = run_axi_cases(built(), config, cases)
    assert [one.what for one in layers] == [None] * len(cases)
    assert all(one.values_equal for one in layers)
    assert [one.core_cycles for one in layers] == [one.model_core_cycles for one in layers]
    errors = [abs(one.error) for one in layers if one.error is not None]
    assert len(errors) == 5
    assert np.mean(errors) < 0.02 and max(errors) < 0.05
    check_counters(config, cases[4].layers[0], layers[4])


def check_counters(config, one, got):
    """Of a run of one output-stationary layer: beats are those of the array's streams."""
    streams = gemm_streams(one.a, one.b, config.number, mode=OS, array=config.array)
    count = {name.removeprefix("sat.stce."): value for name, value in got.counters.items()}
    assert count["a_beat"] == len(streams.a)
    assert count["b_beat"] == count["step"] == len(streams.b_values)
    assert count["z_beat"] == len(streams.z_rows)
    assert count["slot"] == 4 * count["step"]
    assert count["job"] == pack_layers(config, [one], base=0x1000).count
    busy = sum(count[name] for name in ("active", "stall_a", "stall_b", "stall_z"))
    assert got.core_cycles <= busy < got.rtl_cycles


def test_errors_stop_the_list_and_a_soft_reset_makes_it_run(tmp_path):
    """Bus errors and bad descriptors: code, place, and a right run behind a soft reset."""
    probe = Top(MIXED)
    jobs = probe.image.jobs
    state = ("status", "completed", "error", "error_index", "error_address_lo", "irq_status")
    bad_a, bad_z = jobs[1].a.base, jobs[0].z_base
    failing = [
        (Top(MIXED), [(bad_a, bad_a + 8, 2)], "read_bus", None, bad_a),
        (Top(MIXED), [(bad_z, bad_z + 8, 3, "write")], "write_bus", 0, bad_z),
        (Top(MIXED).patch(1, magic=1), [], "magic", 1, None),
        (Top(MIXED).patch(2, opcode=9), [], "opcode", 2, None),
        (Top(MIXED).patch(1, a_base=jobs[1].a.base + 4), [], "alignment", 1, None),
        (Top(MIXED).patch(0, b_beats=0), [], "value", 0, None),
    ]
    cases = []
    for top, errors, *_ in failing:
        top.start().irq().read(*state)
        # repaired: memory as it was, errors gone
        top.do("errors", []).write("irq_status", 0b111).write("control", 0b010).do("wait", 60)
        top.read("status")
        cases.append(top.case(latency=7, errors=errors))
    results = run(cases, tmp_path)
    for (_, _, code, index, address), result in zip(failing, results, strict=True):
        values = [a[1] for a in result["answers"][5:11]]
        status, completed, error, at, where, causes = values
        assert status == 0b1000 and causes == 0b10, code
        assert error & 0xFF == ERRORS[code]
        if index is not None:
            assert at == index
            assert completed <= index or code == "write_bus"  # its last answer was the error
        if address is not None:
            assert where == address
        assert result["answers"][-1] == (0, 0b0001)  # idle again


def test_counts_that_do_not_fit_end_in_a_timeout(tmp_path):
    """Fewer beats of an operand than its product takes: products behind it take each other's, and
    the last of them would wait for ever."""
    jobs = Top(MIXED).image.jobs
    tops = [
        Top(MIXED).patch(0, a_beats=jobs[0].a.beats - 1).write("timeout", 300),
        Top(MIXED).patch(1, b_beats=jobs[1].b.beats - 1).write("timeout", 300),
        Top(MIXED).write("timeout", 300),  # a right list is not late
    ]
    for top in tops:
        top.start().irq().read("status", "error", "error_index", "completed")
        top.write("irq_status", 0b111).write("control", 0b010).do("wait", 60).read("status")
    *wrong, right = run([top.case(latency=7) for top in tops], tmp_path)
    for place, result in enumerate(wrong):
        status, error, index, completed = (a[1] for a in result["answers"][6:10])
        assert status == 0b1000
        assert error == ERRORS["timeout"]
        assert place <= index == completed < tops[place].image.count
        assert result["answers"][-1] == (0, 0b0001)  # idle again
    assert [a[1] for a in right["answers"][6:8]] == [0b0101, 0]
    assert tops[2].correct(right)


def test_soft_reset_in_the_middle_and_then_a_right_run(tmp_path):
    """Bursts under way are finished first: the memory checks the protocol."""
    tops = []
    for cycles in (25, 60, 150, 400):
        top = Top(MIXED).start().do("wait", cycles).write("control", 0b010)
        top.do("poll", top.offset["status"], 0b1111, 0b0001, 2000)
        tops.append(top.start().irq().read("status", "completed", "error"))
    pauses = dict.fromkeys(("ar", "r", "aw", "w", "b"), 0.2)
    results = run([top.case(latency=15, pauses=pauses) for top in tops], tmp_path)
    for top, result in zip(tops, results, strict=True):
        assert result["answers"][6] is not None  # idle again
        assert result["answers"][-4] is not None  # the interrupt
        assert [a[1] for a in result["answers"][-3:]] == [0b0101, top.image.count, 0]
        assert top.correct(result)


def test_cocotbext_axi_agrees(tmp_path):
    """Masters and memory by another implementation, with pauses; and its SLVERR."""
    tops = [Top(MIXED), Top(MIXED), Top([layer(5, 4, 12)])]
    cases = []
    for i, (top, pause) in enumerate(zip(tops, (0.0, 0.3, 0.0), strict=True)):
        top.start()
        *writes, control = [(offset, value) for _, offset, value in top.steps]
        case = {
            "image": top.data.tobytes(),
            "base": top.image.base,
            "writes": writes,
            "control": control,
            "reads": [top.offset[name] for name in ("status", "completed", "error")],
            "errors": [],
            "pause": pause,
            "seed": i,
            "limit": 60000,
        }
        cases.append(case)
    z = tops[2].image.jobs[0].z_base
    cases[2]["errors"] = [(z, z + 8)]
    results = run(cases, tmp_path, bench="hwsim.rtl.bench_sat_axi")
    for top, result in zip(tops[:2], results, strict=False):
        assert result["irq"] and result["values"] == [0b0101, top.image.count, 0]
        assert top.correct(result)
    assert results[2]["irq"]
    assert results[2]["values"][::2] == [0b1000, ERRORS["write_bus"] | 2 << 8]


@given(data=st.data())
@settings(max_examples=15)
def test_replay_buffer_plays_every_run_as_often_as_it_says(data):
    """Random runs, depths and pauses on both sides, in Amaranth's own simulator."""
    depth = data.draw(st.sampled_from([2, 4, 8]))
    plays = data.draw(
        st.lists(st.tuples(st.integers(1, 2 * depth), st.integers(1, 3)), min_size=1, max_size=6)
    )
    plays = [(beats, repeats if beats <= depth else 1) for beats, repeats in plays]
    seed = data.draw(st.integers(0, 2**31))
    chances = [data.draw(st.sampled_from([0.0, 0.3, 0.8])) for _ in range(3)]
    words = [i + 1 for i in range(sum(beats for beats, _ in plays))]
    want, at = [], 0
    for beats, repeats in plays:
        want += words[at : at + beats] * repeats
        at += beats
    got, cycles = replay(depth, plays, words, len(want), chances, seed)
    assert got == want
    if not any(chances) and depth == 8:
        assert cycles <= len(want) + 4 + 3  # a beat a cycle once the first has come


def replay(depth, plays, words, expected, chances, seed):
    dut = ReplayBuffer(16, depth)
    rng = np.random.default_rng(seed)
    got: list[int] = []
    cycles = 0

    async def bench(ctx):
        nonlocal cycles
        offers = {dut.play: list(plays), dut.i: list(words)}
        limit = 100 + 60 * (expected + len(words))
        while len(got) < expected and cycles < limit:
            for (port, queue), chance in zip(offers.items(), chances, strict=False):
                if queue and not ctx.get(port.valid) and rng.random() >= chance:
                    ctx.set(port.valid, 1)
                    if port is dut.play:
                        ctx.set(
                            port.payload, dict(zip(("beats", "repeats"), queue[0], strict=True))
                        )
                    else:
                        ctx.set(port.payload, queue[0])
            ctx.set(dut.o.ready, int(rng.random() >= chances[2]))
            _, _, valid, word, *moved = await ctx.tick().sample(
                dut.o.valid & dut.o.ready, dut.o.payload.data, *(p.valid & p.ready for p in offers)
            )
            if valid:
                got.append(word)
            for (port, queue), taken in zip(offers.items(), moved, strict=True):
                if taken:
                    queue.pop(0)
                    ctx.set(port.valid, 0)
            cycles += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    return got, cycles


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"format": "fp16", "rows": 4, "cols": 4, "sparsity": "2:8", "bus.data_bits": 128},
        {"rows": 3, "cols": 5, "interleave": 3, "adder_latency": 2, "bus.data_bits": 32},
    ],
)
def test_other_tops(changes):
    report = verify_axi(machine(**changes), cases=12, seed=5)
    assert report.ok, report.failures
    assert report.mean_error < 0.05


@pytest.mark.slow
def test_streams(tmp_path):
    """Operands and results as AXI4-Streams: a packet of results a descriptor."""
    config = machine(**{"bus.data": "stream"})
    fmt, array = config.number, config.array
    a_beats, b_beats, records, packets = [], [], [], []
    layers = [layer(5, 7, 19), layer(9, 3, 9, WS, kept=(2, 4))]
    for one in layers:
        s = gemm_streams(one.a, one.b, fmt, mode=one.mode, array=array)
        a_beats += [row.tobytes() for row in a_rows(s.a)]
        b_beats += [row.tobytes() for row in b_rows(s.b_values, s.b_indices, fmt, array)]
        (job,) = s.jobs
        fields = dict(zip(("mode", "tiles", "folds", "length", "word_steps"), job, strict=True))
        done = GemmJob(**{k: int(v) for k, v in fields.items()}, a=None, b=None, z_base=0,
                       z_beats=len(s.z_rows))  # fmt: skip
        records.append(done.pack())
        packets.append(s)
    top = Top([layer(1, 1, 1)])
    case = {
        "image": b"".join(records),
        "base": 0x1000,
        "writes": [
            (top.offset["list_address_lo"], 0x1000),
            (top.offset["list_count"], len(records)),
            (top.offset["irq_enable"], 0b011),
        ],
        "control": (top.offset["control"], 0b101),
        "reads": [top.offset[name] for name in ("status", "completed", "error")],
        "errors": [],
        "limit": 20000,
        "a": a_beats,
        "b": b_beats,
        "packets": len(records),
    }
    made = build_axi(config)
    cases = [{**case, "pause": pause, "seed": i} for i, pause in enumerate((0.0, 0.4))]
    results = run(cases, tmp_path, bench="hwsim.rtl.bench_sat_axi", made=made)
    for result in results:
        assert result["irq"] and result["values"] == [0b0101, len(records), 0]
        for one, streams, packet in zip(layers, packets, result["packets"], strict=True):
            beats = np.frombuffer(packet, np.int32).reshape(-1, config.cols)
            assert (streams.gather(beats) == golden(one)).all()


@pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
def test_refusals():
    with pytest.raises(UserError, match=r"bus\.data: layers run from memory only .* 'stream'"):
        verify_axi(machine(**{"bus.data": "stream"}), cases=1)
    with pytest.raises(UserError, match="--cases must be at least 1, but got 0"):
        verify_axi(machine(), cases=0)
    with pytest.raises(ValueError, match="jobs must hold at least one, with operands in memory"):
        list_cycles(machine(), [], Port(latency=1, write_latency=1))
    with pytest.raises(ValueError, match="depth must be a power of two >= 2, but got 3"):
        ReplayBuffer(8, 3)
    gc.collect()  # Amaranth warns of the component that was never used when it is collected
