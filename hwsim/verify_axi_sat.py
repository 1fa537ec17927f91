"""The sparse array's AXI top against golden model and simulator: whole layers from descriptors.

Layers are those of the trained digits networks and one of ResNet-18's shape cut to size, with the
hardware's pattern or dense, output or weight stationary. Every second case has a memory of fixed
latency, whose run is compared with the model (`hwsim.axi_sat_model`); the others pause at random on
all channels.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.axi_sat_model import Port, list_cycles
from hwsim.config import SatConfig
from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_sim import timeline
from hwsim.errors import UserError
from hwsim.models.digits import shipped_weights
from hwsim.models.gemm import gemm, gemm_compact
from hwsim.models.im2col import kernel_matrix
from hwsim.models.nm import Compact, NMPattern, compress
from hwsim.models.shell_map import shell_map
from hwsim.sat_layers import Layer, MemoryImage, pack_layers
from hwsim.verify_axi import AxiLayer, AxiReport

__all__ = ["AxiCase", "build_axi", "make_axi_case", "run_axi_cases", "verify_axi_sat"]

_BENCH = "hwsim.rtl.bench_shell"
_BASE = 0x1000
_ANSWERS = 10  # steps of `_steps` in front of the counters


@dataclass(frozen=True, kw_only=True)
class AxiCase:
    """Layers, run as one list, and the memory that they run from.

    Attributes:
        layers: at least one.
        latency: cycles of a read's and a write's answer, or (low, high) at random.
        pauses: probability that a channel of the memory or of the register port pauses in a cycle.
        seed: of pauses and latencies.
    """

    layers: list[Layer]
    latency: int | tuple[int, int] = 0
    pauses: float = 0.0
    seed: int = 1

    @property
    def modelled(self) -> bool:
        """The memory answers as the model foresees."""
        return isinstance(self.latency, int) and not self.pauses

    @property
    def memory(self) -> str:
        """The memory in words."""
        if isinstance(self.latency, int):
            text = f"latency {self.latency}"
        else:
            text = f"latency {self.latency[0]} to {self.latency[1]}"
        return text + (f", pauses in {self.pauses:.0%} of the cycles" if self.pauses else "")


def verify_axi_sat(
    config: SatConfig,
    *,
    cases: int,
    seed: int,
    progress: Callable[[str], None] = lambda message: None,
) -> AxiReport:
    """`hwsim.verify_axi.verify_axi` of a sat configuration.

    Raises:
        UserError: `bus.data` is `stream`, where the operands are not the top's business, or a tool
            is missing.
    """
    if config.bus.data != "memory":
        raise UserError(
            "bus.data: layers run from memory only where it is 'memory', but got 'stream'"
        )
    started = time.perf_counter()
    progress(f"building sat_axi of {config.pes:,} PEs with Verilator")
    made = build_axi(config)
    built = time.perf_counter()
    all_cases = [make_axi_case(config, seed, number) for number in range(cases)]
    progress(f"running {cases} cases")
    layers = run_axi_cases(made, config, all_cases)
    return AxiReport(
        config=(
            f"rows={config.rows} cols={config.cols} format={config.format} "
            f"sparsity={config.sparsity} bus={config.bus.data_bits} bits"
        ),
        seed=seed,
        layers=layers,
        seconds_build=built - started,
        seconds_run=time.perf_counter() - built,
    )


def build_axi(config: SatConfig) -> Any:
    """The top with its core, compiled (`hwsim.rtl.simulator.Build`).

    Raises:
        UserError: a tool is missing.
    """
    from hwsim.rtl.simulator import build

    return build(_verilog(config), "sat_axi")


@lru_cache(maxsize=32)
def _verilog(config: SatConfig) -> str:
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.sat_axi import axi_parts
    from hwsim.rtl.verilog import engine_parts

    return parts_verilog(engine_parts(config) | axi_parts(config))[0]


def make_axi_case(config: SatConfig, seed: int, number: int) -> AxiCase:
    """Case `number` of the run with that seed."""
    rng = np.random.default_rng([seed, number, 0xA71])
    layers = _layers(config, rng)
    layer = layers[number // 2 % len(layers)]
    if number % 2 == 0:
        return AxiCase(layers=[layer], latency=int(rng.integers(2, 120)), seed=number)
    other = layers[int(rng.integers(len(layers)))]
    low = int(rng.integers(0, 10))
    return AxiCase(
        layers=[_cut(layer, rng), _cut(other, rng)],
        latency=(low, low + int(rng.integers(1, 60))),
        pauses=float(rng.choice([0.1, 0.3, 0.6])),
        seed=number,
    )


def run_axi_cases(made: Any, config: SatConfig, cases: Sequence[AxiCase]) -> list[AxiLayer]:
    """What the RTL did on each case, judged.

    Args:
        made: of `build_axi(config)`.

    Raises:
        RuntimeError: the bench failed: the top broke a rule of its buses.
    """
    from hwsim.rtl.sat_axi import shell_spec

    spec = shell_spec(config)
    registers = shell_map(spec, config.bus.data_bits)
    offsets = {one.name: one.offset for one in registers.registers}
    names = list(spec.all_counters)
    images = [pack_layers(config, case.layers, base=_BASE) for case in cases]
    packed = [
        {
            "memory": {
                "image": image.data.tobytes(),
                "base": image.base,
                "latency": case.latency,
                "write_latency": case.latency,
                "pauses": dict.fromkeys(("ar", "r", "aw", "w", "b"), case.pauses),
                "seed": case.seed,
                "outstanding": config.bus.outstanding_reads,
            },
            "pauses": case.pauses,
            "steps": _steps(image, offsets, names, _limit(image, config, case)),
        }
        for case, image in zip(cases, images, strict=True)
    ]
    with tempfile.TemporaryDirectory(prefix="hwsim-axi-") as scratch:
        source, target = Path(scratch) / "cases", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(packed))
        made.run(_BENCH, {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
        results = pickle.loads(target.read_bytes())
    return [
        _judge(config, case, image, names, result)
        for case, image, result in zip(cases, images, results, strict=True)
    ]


def _steps(
    image: MemoryImage, offsets: dict[str, int], counters: list[str], limit: int
) -> list[tuple[Any, ...]]:
    """Software's part: list, start, interrupt, state, counters."""
    steps: list[tuple[Any, ...]] = [
        ("write", offsets["list_address_lo"], image.list_address & 0xFFFFFFFF),
        ("write", offsets["list_address_hi"], image.list_address >> 32),
        ("write", offsets["list_count"], image.count),
        ("write", offsets["irq_enable"], 0b011),
        ("write", offsets["control"], 0b101),  # clear counters, start
        ("irq", limit),
        ("read", offsets["status"]),
        ("read", offsets["completed"]),
        ("read", offsets["irq_status"]),
        ("read", offsets["error"]),
    ]
    assert len(steps) == _ANSWERS
    for name in counters:
        base = f"count_{name.replace('.', '_')}"
        steps += [("read", offsets[f"{base}_lo"]), ("read", offsets[f"{base}_hi"])]
    return steps


def _judge(
    config: SatConfig, case: AxiCase, image: MemoryImage, names: list[str], result: dict[str, Any]
) -> AxiLayer:
    answers = result["answers"]
    values = [value for _, value in answers[_ANSWERS:]]
    counters = {name: values[2 * i] | values[2 * i + 1] << 32 for i, name in enumerate(names)}
    waited = answers[5]
    status, completed, causes, error = (value for _, value in answers[6:_ANSWERS])
    what = None
    if waited is None:
        what = f"no interrupt came; {completed} of {image.count} descriptors were completed"
    elif (status, completed, error) != (0b0101, image.count, 0) or not causes & 1:
        what = f"status {status:#x}, {completed} completed, error {error:#x}, causes {causes:#x}"
    elif (result["read_bytes"], result["write_bytes"]) != (
        counters["dram.read"], counters["dram.write"],
    ):  # fmt: skip
        what = "the counters of bytes differ from the bytes that the memory saw"
    memory = np.frombuffer(result["image"], np.uint8)
    equal = all(
        _equal(config, layer, z)
        for layer, z in zip(case.layers, image.results(memory), strict=True)
    )
    port = Port(latency=case.latency, write_latency=case.latency) if case.modelled else None  # type: ignore[arg-type]
    return AxiLayer(
        name=" + ".join(layer.name for layer in case.layers),
        memory=case.memory,
        rtl_cycles=counters["bus.cycle"],
        core_cycles=counters["sat.stce.active"],
        model_core_cycles=timeline(image.array_jobs, config.array).steps,
        model_cycles=None if port is None else list_cycles(config, image.jobs, port),
        values_equal=equal,
        bytes_read=result["read_bytes"],
        bytes_written=result["write_bytes"],
        counters=counters,
        what=what,
    )


def _equal(config: SatConfig, layer: Layer, z: Any) -> bool:
    fmt = config.number
    if isinstance(layer.b, Compact):
        want = gemm_compact(layer.a, layer.b, fmt)
    else:
        want = gemm(layer.a, layer.b, fmt)
    return bool((fmt.bits(z) == fmt.bits(want)).all())


def _limit(image: MemoryImage, config: SatConfig, case: AxiCase) -> int:
    """Cycles after which a run is given up: all waits one after the other, many times over."""
    high = case.latency if isinstance(case.latency, int) else case.latency[1]
    words = sum(job.z_beats for job in image.jobs) + len(image.data) // 4
    steps = timeline(image.array_jobs, config.array).steps
    return 2000 + 20 * (steps + (words + image.count) * (1 + high))


def _layers(config: SatConfig, rng: np.random.Generator) -> list[Layer]:
    """The layers that cases are made of: (m, k) activations against real or random weights."""
    pattern = config.pattern if config.array.group % config.pattern.m == 0 else NMPattern(1, 1)
    modes = {"os": [OS], "ws": [WS], "auto": [OS, WS]}[config.dataflow]
    found = []
    for name, net, layer, m in (
        ("digits_mlp fc1", "digits_mlp", "fc1", 8),
        ("digits_mlp fc2", "digits_mlp", "fc2", 8),
        ("digits_cnn conv2", "digits_cnn", "conv2", 32),
        ("digits_cnn fc", "digits_cnn", "fc", 8),
    ):
        w = shipped_weights(net)[f"{layer}.weight"]
        b = kernel_matrix(w) if w.ndim == 4 else np.ascontiguousarray(w.T)
        found += _both(config, rng, name, m, b, pattern, modes)
    # ResNet-18's conv2_x is 3136 x 64 x 576; here 28 positions and 32 filters of it
    b = rng.standard_normal((576, 32)).astype(np.float32) * 0.05
    found += _both(config, rng, "resnet18 conv2_x cut", 28, b, pattern, modes)
    return found


def _both(
    config: SatConfig,
    rng: np.random.Generator,
    name: str,
    m: int,
    b: Any,
    pattern: NMPattern,
    modes: list[int],
) -> list[Layer]:
    """A layer pruned and dense, in a dataflow each."""
    a, weights = _operand(config, rng.random((m, len(b))), 1), _operand(config, b, 0)
    layers = []
    for i, kept in enumerate((pattern, NMPattern(1, 1)), len(name) % 2):
        mode = modes[i % len(modes)]
        held = weights if kept.dense else compress(weights, kept.n, kept.m)
        kind = {OS: "os", WS: "ws"}[mode]
        shape = f"{m}x{b.shape[1]}x{len(b)}"
        layers.append(Layer(name=f"{name} {shape} {kept} {kind}", a=a, b=held, mode=mode))
    return layers


def _operand(config: SatConfig, values: Any, low: int) -> Any:
    """Real numbers in the operand format, integers scaled to its range."""
    if config.number.is_float:
        return values.astype(np.float16)
    scale = 127 / max(float(np.abs(values).max()), 1e-9)
    return np.rint(values * scale).astype(np.int8)


def _cut(layer: Layer, rng: np.random.Generator) -> Layer:
    """A few rows of a layer, so that a case with many pauses ends soon."""
    rows = int(rng.integers(1, min(9, len(layer.a)) + 1))
    return Layer(name=f"{layer.name}, {rows} rows", a=layer.a[:rows], b=layer.b, mode=layer.mode)
