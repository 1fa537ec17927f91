"""Holds the training engine's RTL against the golden training steps: bits and cycles.

A small network is trained for some steps three times: by the golden model, by the simulators on a
program's memory, and by the RTL on the same program. After every step the weights, momenta, masks
and compact copies must be equal bit for bit, and every result beat of the RTL must leave in the
cycle that the simulator says.
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
from numpy.typing import NDArray

from hwsim.config import Accelerator, SatConfig
from hwsim.dataflows.exact_train import FAST
from hwsim.dataflows.program import (
    CONSTANTS,
    RAW,
    Command,
    EngineShape,
    HostStep,
    Places,
    Program,
    Unit,
    training_program,
)
from hwsim.dataflows.program_sim import CommandTime, command_time, simulate, start_cycles
from hwsim.errors import UserError
from hwsim.models.digits import digits_data
from hwsim.models.exact_digits import NETWORKS
from hwsim.models.exact_layers import Layer
from hwsim.models.exact_state import LayerState, Recipe, initial_state
from hwsim.models.exact_train import train_step
from hwsim.models.nm import Compact
from hwsim.models.update import UpdateRule

__all__ = ["TrainingReport", "run_rtl", "verify_training"]

_BENCH = "hwsim.rtl.bench_engine"
_WATCH_CYCLES = 100
_RATE, _DECAY = 0.05, 1e-4  # as `hwsim.models.digits`; a usual weight decay, so that its path works


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a run found.

    Attributes:
        network: its name.
        steps, commands: training steps and descriptors executed.
        cycles: RTL cycles until the last result.
        values: words compared after all steps: weights, momenta, copies, masks, compact copies.
        losses: of each step, before it.
        difference: the first way in which a level differs; empty if none.
        seconds_build, seconds_run: of the Verilator build and of the simulation.
    """

    network: str
    steps: int
    commands: int
    cycles: int
    values: int
    losses: list[float]
    difference: str
    seconds_build: float
    seconds_run: float

    @property
    def ok(self) -> bool:
        return not self.difference


def verify_training(
    config: Accelerator,
    network: str,
    *,
    steps: int = 3,
    batch: int = 4,
    seed: int = 0,
    progress: Callable[[str], None] = lambda message: None,
) -> TrainingReport:
    """Train `network` on scikit-learn's digits for some steps at all three levels.

    Args:
        config: sizes, pattern, method, latencies; FP16.
        network: a name of `hwsim.models.exact_digits.NETWORKS`.
        steps, batch: training steps and images of each.
        seed: of the initial weights, the images and the stalls.

    Raises:
        UserError: the engine does not do what the configuration asks for; one sentence.
    """
    if not isinstance(config, SatConfig):
        raise UserError(f"kind: training in RTL is for sat, but {config.name} is a {config.kind}")
    if network not in NETWORKS:
        raise UserError(f"--train must be one of {', '.join(NETWORKS)}, but got {network!r}")
    if steps < 1 or batch < 1:
        raise UserError(f"steps and batch must be at least 1, but got {steps} and {batch}")
    if config.format != "fp16":
        raise UserError(f"format: the training engine is FP16, but got {config.format}")
    try:
        engine = EngineShape(
            array=config.array,
            pattern=config.pattern,
            update_lanes=config.wuve_lanes,
            select_lanes=config.sore_lanes,
        )
        layers = NETWORKS[network]
        recipe = Recipe(
            method=config.method,
            pattern=config.pattern,
            rule=UpdateRule(rate=_RATE, decay=_DECAY),
        )
        rng = np.random.default_rng(seed)
        images, labels = digits_data()
        chosen = rng.permutation(len(images))[: steps * batch].reshape(steps, batch)
        batches = [(images[rows], labels[rows]) for rows in chosen]
        states = initial_state(layers, recipe, seed)
        program = training_program(layers, states, batches, recipe, engine)
    except ValueError as error:
        raise UserError(str(error)) from None

    golden, losses = _golden(layers, states, batches, recipe)
    difference = _compare("simulator", program, simulate(program), golden)
    progress(f"building the engine with {engine.array.rows * engine.array.cols} PEs")
    gaps = _gaps(program, rng)
    times = [command_time(c, engine, g) for c, g in zip(program.commands, gaps, strict=True)]
    descriptor_gaps = [int(g) for g in rng.integers(0, 3, 7)]
    began = time.perf_counter()
    build = _build(engine)
    built = time.perf_counter()
    progress(f"running {len(times)} commands of {steps} steps")
    found = run_rtl(program, build, gaps, descriptor_gaps, times)
    done = time.perf_counter()
    difference = (
        difference
        or _compare("RTL", program, found["images"], golden)
        or _late(program, times, descriptor_gaps, found)
    )
    return TrainingReport(
        network=network,
        steps=steps,
        commands=len(found["results"]),
        cycles=found["results"][-1][-1] + 1 if found["results"] else 0,
        values=steps * sum(len(where) for where, _ in _words(program.layers, states)),
        losses=losses,
        difference=difference,
        seconds_build=built - began,
        seconds_run=done - built,
    )


def run_rtl(
    program: Program,
    build: Any,
    gaps: Sequence[dict[str, list[int]]],
    descriptor_gaps: list[int],
    times: Sequence[CommandTime],
) -> dict[str, Any]:
    """Run a program through the RTL: memory images, when commands were accepted, result cycles.

    Args:
        build: of the engine.
        gaps: stalls of each command by port.
        descriptor_gaps: idle cycles before each descriptor.
        times: what the simulator says, for the time limit.
    """
    engine = program.engine
    widths = _widths(engine)
    commands: list[dict[str, Any]] = []
    host: list[dict[str, Any]] = []
    for i, item in enumerate(program.items):
        if isinstance(item, HostStep):
            host.append(
                {
                    "logits": item.logits,
                    "gradient": item.gradient,
                    "labels": item.labels,
                    "scale": item.scale,
                }
            )
            continue
        sink = {Unit.ARRAY: "z", Unit.UPDATE: "updated", Unit.SELECT: "selected"}[item.unit]
        commands.append(
            {
                "word": _descriptor(item),
                "host": host,
                "operands": {
                    port: (where, widths[port], port == "gate")
                    for port, where in item.operands.items()
                },
                "results": (sink, item.results, widths[sink]),
                "gaps": _by_port(item, gaps[len(commands)]),
                "image": i + 1 in program.boundaries,
            }
        )
        host = []
    starts = start_cycles([t.period for t in times], descriptor_gaps)
    case = {
        "memory": program.memory.copy(),
        "constants": CONSTANTS,
        "commands": commands,
        "sources": ("a", "b", "gate", "update", "select"),
        "sinks": ("z", "updated", "selected"),
        "scalars": {
            name: int(np.float32(getattr(program.recipe.update_rule, name)).view(np.uint32))
            for name in ("rate", "momentum", "decay", "pruned_decay", "scale")
        },
        "gaps": descriptor_gaps,
        "limit": 2 * (starts[-1] + times[-1].period) + 1000,
        "watch": _WATCH_CYCLES,
    }
    with tempfile.TemporaryDirectory(prefix="hwsim-train-") as scratch:
        source, target = Path(scratch) / "case", Path(scratch) / "results"
        source.write_bytes(pickle.dumps(case))
        build.run(_BENCH, {"HWSIM_CASES": str(source), "HWSIM_RESULTS": str(target)})
        found: dict[str, Any] = pickle.loads(target.read_bytes())
    return found


def _build(engine: EngineShape) -> Any:
    from hwsim.rtl.engine import ENGINE_TOP
    from hwsim.rtl.simulator import build

    return build(_verilog(engine), ENGINE_TOP)


@lru_cache(maxsize=32)
def _verilog(engine: EngineShape) -> str:
    from hwsim.rtl.blocks import parts_verilog
    from hwsim.rtl.engine import training_parts

    return parts_verilog(
        training_parts(engine.array, engine.pattern, engine.update_lanes, engine.select_lanes)
    )[0]


def _golden(
    layers: Sequence[Layer],
    states: tuple[LayerState, ...],
    batches: Sequence[tuple[NDArray, NDArray]],
    recipe: Recipe,
) -> tuple[list[tuple[LayerState, ...]], list[float]]:
    """States after each step, and the losses; the fast kernels, which have the golden's bits."""
    found, losses = [], []
    for images, labels in batches:
        result = train_step(layers, states, images, labels, recipe, FAST)
        states = result.states
        found.append(states)
        losses.append(result.loss)
    return found, losses


def _words(
    places: Sequence[Places], states: Sequence[LayerState]
) -> list[tuple[NDArray[np.int64], NDArray]]:
    """(addresses, expected words) of everything that the engine keeps."""
    found: list[tuple[NDArray[np.int64], NDArray]] = []
    for place, state in zip(places, states, strict=True):
        found.append((place.w.ravel(), state.w.view(np.uint32).ravel()))
        found.append((place.v.ravel(), state.v.view(np.uint32).ravel()))
        found.append((place.copy.ravel(), state.copy.view(np.uint16).ravel()))
        for where, held, mask in (
            (place.forward, state.forward, state.forward_mask),
            (place.backward, state.backward, state.backward_mask),
        ):
            if where is not None and mask is not None:
                assert isinstance(held, Compact)  # what has a mask is compact
                found.append((where[0].ravel(), held.values.view(np.uint16).ravel()))
                found.append((where[1].ravel(), held.indices.ravel()))
                found.append((where[2].ravel(), mask.ravel()))
    return found


def _compare(
    level: str,
    program: Program,
    images: Sequence[NDArray[np.uint32]],
    golden: Sequence[Sequence[LayerState]],
) -> str:
    if len(images) != len(golden):
        return f"{level}: {len(images)} of {len(golden)} steps were finished"
    for step, (image, states) in enumerate(zip(images, golden, strict=True)):
        for where, expected in _words(program.layers, states):
            wrong = np.flatnonzero(image[where] != expected.astype(np.uint32))
            if len(wrong):
                i = wrong[0]
                return (
                    f"{level}: after step {step + 1} {len(wrong)} words differ, the first "
                    f"{int(image[where[i]]):#x}, expected {int(expected[i]):#x}"
                )
    return ""


def _late(
    program: Program,
    times: Sequence[CommandTime],
    descriptor_gaps: Sequence[int],
    found: dict[str, Any],
) -> str:
    starts = start_cycles([t.period for t in times], descriptor_gaps)
    for command, t, start, at, results in zip(
        program.commands, times, starts, found["accepted"], found["results"], strict=True
    ):
        if at != start:
            return f"{command.name} was accepted in cycle {at}, expected in cycle {start}"
        wrong = np.flatnonzero(np.array(results) != start + 1 + t.results)
        if len(wrong):
            i = wrong[0]
            want = start + 1 + int(t.results[i])
            return f"{command.name}: result {i} in cycle {results[i]}, expected in cycle {want}"
    return f"{found['extra']} results came after the last" if found["extra"] else ""


def _gaps(program: Program, rng: np.random.Generator) -> list[dict[str, list[int]]]:
    """Random stalls of every command on its ports; none behind the post unit."""
    found = []
    for command in program.commands:
        names = {Unit.ARRAY: ("a", "b", "z"), Unit.UPDATE: ("update", "o")}.get(
            command.unit, ("select", "o")
        )
        gaps = {name: [int(g) for g in rng.integers(0, 3, rng.integers(1, 9))] for name in names}
        if rng.random() < 0.5:
            gaps = {name: [0] for name in names}
        if command.unit == Unit.ARRAY and command.post != RAW:
            gaps["z"] = [0]
        found.append(gaps)
    return found


def _by_port(command: Command, gaps: dict[str, list[int]]) -> dict[str, list[int]]:
    sink = {Unit.ARRAY: "z", Unit.UPDATE: "updated", Unit.SELECT: "selected"}[command.unit]
    return {sink if name == "o" else name: values for name, values in gaps.items()}


def _widths(engine: EngineShape) -> dict[str, list[int]]:
    """Bits of each field of a beat, by port."""
    array, n, m = engine.array, engine.pattern.n, engine.pattern.m
    index = max(1, (m - 1).bit_length())
    return {
        "a": [16] * (array.rows * array.group),
        "b": [16, index] * array.cols,
        "gate": [1] * array.cols,
        "z": [32] * array.cols,
        "update": [32, 32, 32, 1] * engine.update_lanes,
        "updated": [32, 32, 16] * engine.update_lanes,
        "select": [16] * engine.select_lanes + [1],
        "selected": ([16] * n + [index] * n + [1] * m) * engine.select_lanes,
    }


def _descriptor(command: Command) -> int:
    from hwsim.rtl.engine import command_layout
    from hwsim.rtl.sequencer import job_layout

    outer, inner = command_layout(), job_layout()
    job = sum(v << inner[name].offset for v, name in zip(command.job, inner.members, strict=True))
    port = {Unit.UPDATE: "update", Unit.SELECT: "select"}.get(command.unit)
    fields = {
        "unit": int(command.unit),
        "post": command.post,
        "job": job,
        "operands": len(command.operands[port]) if port else 0,
        "results": len(command.results),
    }
    return sum(value << outer[name].offset for name, value in fields.items())
