"""Executes a training program on the Numba simulators: values bit for bit, and the cycles.

The engine takes one command after the other: a command is accepted when all results of the one
before have left and the array has drained, one cycle later its unit starts. So each command runs as
if from reset, and a program's cycles are the sum of its commands'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.dataflows.program import CONSTANTS, RAW, Command, EngineShape, HostStep, Program, Unit
from hwsim.dataflows.sore import SelectorBeats, select, topn_timeline
from hwsim.dataflows.stce_feed import OperandStreams
from hwsim.dataflows.stce_sim import Gaps, timeline, values
from hwsim.dataflows.stream import pipeline_timeline
from hwsim.dataflows.wuve import update, update_depth
from hwsim.models.exact_train import loss_gradient
from hwsim.models.formats import FP16
from hwsim.models.post import PostMode, post

__all__ = ["NO_GAPS", "CommandTime", "command_time", "host_step", "simulate", "start_cycles"]

PortGaps = Mapping[str, Sequence[int]]
"""Idle cycles before each beat by port, used round and round from each command's start."""

NO_GAPS: PortGaps = {}


@dataclass(frozen=True, kw_only=True)
class CommandTime:
    """Cycles of one command, counted from the one after it was accepted.

    Attributes:
        results: int64 [beats], when each result beat is taken.
        period: cycles from accepting it until the next command can be accepted.
    """

    results: NDArray[np.int64]
    period: int


def command_time(command: Command, engine: EngineShape, gaps: PortGaps = NO_GAPS) -> CommandTime:
    """When the results of a command are taken.

    Gaps of `z` are for sums that leave as they are; behind the post unit results are taken at once.

    Raises:
        ValueError: a gap of `z` for a command that goes through the post unit.
    """
    if command.unit == Unit.ARRAY:
        given = Gaps(a=gaps.get("a", ()), b=gaps.get("b", ()), z=gaps.get("z", ()))
        if command.post != RAW and np.any(given.z):
            raise ValueError("behind the post unit there is no back-pressure, but gaps of z came")
        line = timeline(np.array([command.job], np.int64), engine.array, given)
        behind = 0 if command.post == RAW else engine.post_steps
        results = line.z_cycles + behind
        return CommandTime(results=results, period=1 + max(line.cycles + behind, line.idle_cycle))
    gap_i, gap_o = gaps.get(command.unit.name.lower(), ()), gaps.get("o", ())
    if command.unit == Unit.UPDATE:
        array = engine.array
        depth = update_depth(array.multiplier_latency, array.adder_latency)
        moved = pipeline_timeline(len(command.results), depth, gap_i=gap_i, gap_o=gap_o)
    else:
        moved = topn_timeline(_lengths(command), gap_i=gap_i, gap_o=gap_o)
    return CommandTime(results=moved.o_cycles, period=1 + moved.cycles)


def start_cycles(periods: Sequence[int], gaps: Sequence[int] = (0,)) -> list[int]:
    """The cycle in which each command is accepted, the first after reset being cycle 0.

    Args:
        periods: of the commands.
        gaps: idle cycles before each descriptor is offered, used round and round.
    """
    found, quiet, offered = [], 0, gaps[0]
    for i, period in enumerate(periods):
        found.append(max(quiet, offered))
        quiet = found[-1] + period
        offered = found[-1] + 1 + gaps[(i + 1) % len(gaps)]
    return found


def simulate(program: Program) -> list[NDArray[np.uint32]]:
    """The memory after each training step."""
    memory = program.memory.copy()
    images = []
    for i, item in enumerate(program.items):
        if isinstance(item, HostStep):
            host_step(item, memory)
        else:
            _execute(item, program, memory)
        if i + 1 in program.boundaries:
            images.append(memory.copy())
    return images


def host_step(item: HostStep, memory: NDArray[np.uint32]) -> float:
    """The host's part: reads logits, writes dY, returns the loss."""
    logits = memory[item.logits].view(np.float32)
    loss, dy = loss_gradient(logits, item.labels, item.scale)
    memory[item.gradient] = dy.view(np.uint16)
    return loss


def _execute(command: Command, program: Program, memory: NDArray[np.uint32]) -> None:
    run = {Unit.ARRAY: _array, Unit.UPDATE: _update, Unit.SELECT: _select}[command.unit]
    found = run(command, program, memory)
    memory[command.results] = found
    memory[:CONSTANTS] = np.arange(CONSTANTS)


def _array(command: Command, program: Program, memory: NDArray[np.uint32]) -> NDArray:
    array = program.engine.array
    a = _half(memory[command.operands["a"]]).reshape(-1, array.rows, array.group)
    pairs = memory[command.operands["b"]].reshape(-1, array.cols, 2)
    streams = OperandStreams(
        jobs=np.array([command.job], np.int64),
        a=a,
        b_values=_half(pairs[:, :, 0]),
        b_indices=pairs[:, :, 1].astype(np.uint8),
        z_rows=np.zeros(len(command.results), np.int64),
        z_cols=np.zeros(len(command.results), np.int64),
        shape=(0, 0),
    )
    sums = values(streams, FP16, array)
    if command.post == RAW:
        return sums.view(np.uint32)
    gate = None
    if "gate" in command.operands:
        gate = (memory[command.operands["gate"]] & 0x7FFF) != 0
    y, _ = post(sums, PostMode(command.post), gate=gate)
    return y.view(np.uint16)


def _update(command: Command, program: Program, memory: NDArray[np.uint32]) -> NDArray:
    given = memory[command.operands["update"]].reshape(len(command.results), -1, 4)
    w, v, gradient = (np.ascontiguousarray(given[..., i]).view(np.float32) for i in range(3))
    found = update(w, v, gradient, given[..., 3] != 0, program.recipe.update_rule)
    copy = found[2].view(np.uint16).astype(np.uint32)
    words = [found[0].view(np.uint32), found[1].view(np.uint32), copy]
    return np.stack(words, axis=2).reshape(command.results.shape)


def _select(command: Command, program: Program, memory: NDArray[np.uint32]) -> NDArray:
    pattern, lanes = program.engine.pattern, program.engine.select_lanes
    lengths = _lengths(command)
    given = memory[command.operands["select"]][:, :lanes].astype(np.uint16)
    weights = np.zeros((len(lengths), pattern.m, lanes), np.uint16)
    at = 0
    for group, length in enumerate(lengths):
        weights[group, :length] = given[at : at + length]
        at += length
    beats = SelectorBeats(weights=weights, lengths=lengths, k=pattern.m, columns=lanes)
    parts = [np.moveaxis(x, 2, 1) for x in select(beats, pattern.n)]  # [groups, lanes, ...]
    return np.concatenate(parts, axis=2).reshape(command.results.shape)


def _lengths(command: Command) -> NDArray[np.int64]:
    """Weights of each group: the last of one is marked."""
    ends = np.flatnonzero(command.operands["select"][:, -1] == 1)
    return np.diff(ends, prepend=-1)


def _half(words: NDArray[np.uint32]) -> NDArray[np.float16]:
    return words.astype(np.uint16).view(np.float16)
