"""Cycle-exact simulation of the sparse array: values bit for bit, the cycle of every result beat.

The two halves are independent because the array's timing does not look at the data: `values`
replays the jobs on the operand streams, `timeline` steps the sequencer, the ports and the result
register cycle by cycle. Back-pressure is a gap before each beat: a source offers beat i `gap`
cycles after beat i - 1 was taken, a sink is ready for beat i `gap` cycles after it took beat i - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from hwsim.dataflows.stce import OS, WS
from hwsim.dataflows.stce_feed import OperandStreams
from hwsim.models.array import RESULT_QUEUE, ArrayShape
from hwsim.models.formats import NumberFormat

__all__ = ["Gaps", "Timeline", "result_beats", "timeline", "values"]


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Idle cycles before each beat of each port; a port's list is used round and round.

    An empty list is no gaps. All entries are at least 0.
    """

    job: ArrayLike = ()
    a: ArrayLike = ()
    b: ArrayLike = ()
    z: ArrayLike = ()


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """What happened in which cycle; cycle 0 is the first after reset.

    Attributes:
        cycles: cycles until the last result beat was taken, inclusive.
        z_cycles: int64 [beats], the cycle in which each result beat was taken.
        steps: cycles in which the array advanced while a job was held.
        stall_a, stall_b, stall_z: cycles it stood still for activations, weights, results; a cycle
            with several causes counts for the first in the order z, a, b.
        wait_job: cycles without a job.
        idle_cycle: the cycle in which the array first says that it is idle again.
    """

    cycles: int
    z_cycles: NDArray[np.int64]
    steps: int
    stall_a: int
    stall_b: int
    stall_z: int
    wait_job: int
    idle_cycle: int


def result_beats(jobs: NDArray[np.int64], array: ArrayShape) -> int:
    """Result beats of a job list: rows times interleave an os tile, `length` a ws tile."""
    per_tile = np.where(jobs[:, 0] == OS, array.tile_beats, jobs[:, 3])
    return int((jobs[:, 1] * per_tile).sum())


def timeline(jobs: NDArray[np.int64], array: ArrayShape, gaps: Gaps | None = None) -> Timeline:
    """When each result beat of a job list is taken.

    Args:
        jobs: int64 [jobs, 5] as in `OperandStreams`.
        array: the array's shape.
        gaps: back-pressure; none when None.

    Raises:
        ValueError: a job with a count below 1, an unknown mode, or a negative gap.
    """
    jobs = np.ascontiguousarray(jobs, np.int64)
    if jobs.ndim != 2 or jobs.shape[1] != 5 or not len(jobs):
        raise ValueError(f"jobs must be [jobs, 5] with at least one, but got {jobs.shape}")
    if not np.isin(jobs[:, 0], (OS, WS)).all() or (jobs[:, 1:] < 1).any():
        raise ValueError("a job needs mode 0 or 1 and counts of at least 1")
    given = gaps or Gaps()
    gap_job, gap_a, gap_b, gap_z = (
        _gap_list(name, getattr(given, name)) for name in ("job", "a", "b", "z")
    )
    z_cycles = np.zeros(result_beats(jobs, array), np.int64)
    constants = np.array(
        [
            array.rows,
            array.interleave,
            array.slot_steps,
            array.drain_slots,
            array.fold_steps,
            array.load_delay,
            array.flush_steps,
            array.os_exit,
            array.ws_exit,
        ],
        np.int64,
    )
    counts = _timeline(jobs, constants, gap_job, gap_a, gap_b, gap_z, z_cycles)
    cycles, steps, stall_a, stall_b, stall_z, wait_job, drained = (int(c) for c in counts)
    return Timeline(
        cycles=cycles,
        z_cycles=z_cycles,
        steps=steps,
        stall_a=stall_a,
        stall_b=stall_b,
        stall_z=stall_z,
        wait_job=wait_job,
        idle_cycle=cycles + array.flush_steps - drained,
    )


def values(streams: OperandStreams, fmt: NumberFormat, array: ArrayShape) -> NDArray:
    """The result beats [beats, cols] in the accumulator's format, in the order they leave."""
    wide = fmt.accumulator_dtype
    z = np.zeros((result_beats(streams.jobs, array), array.cols), wide)
    _values(
        streams.jobs,
        array.interleave,
        streams.a.astype(wide),
        streams.b_values.astype(wide),
        streams.b_indices,
        z,
    )
    return fmt.finish(z)


def _gap_list(name: str, gaps: ArrayLike) -> NDArray[np.int64]:
    array = np.atleast_1d(np.asarray(gaps, np.int64))
    if (array < 0).any():
        raise ValueError(f"gaps of {name} must not be negative, but got {int(array.min())}")
    return array if array.size else np.zeros(1, np.int64)


@njit(cache=True)
def _timeline(jobs, constants, gap_job, gap_a, gap_b, gap_z, z_cycles):  # pragma: no cover
    idle_state, os_state, load_state, ws_state = 0, 1, 2, 3
    rows, turns, slot_steps, drain_slots = constants[0], constants[1], constants[2], constants[3]
    fold_steps, load_delay, flush = constants[4], constants[5], constants[6]
    os_exit, ws_exit = constants[7], constants[8]
    state = idle_state
    mode = OS
    drained = flush
    next_job = 0
    tiles = folds = length = word_steps = steps_last = idle_slots = 0
    tile = fold = word = step = turn = 0  # an os step is a slot, whose steps are turns

    # emit[s % size]: the step s puts a beat in the result queue, two cycles after it is decided.
    # What a step takes from the ports, the sequencer knew a step before; when a step does not
    # happen, it goes on once more and keeps what it found beside that.
    size = max(os_exit + rows * turns, ws_exit) + 1
    emit = np.zeros(size, np.bool_)
    now = 0  # steps so far, modulo size
    held = need_a = need_b = False
    kept_held = kept_a = kept_b = ahead = False
    level = 0
    arriving = decided = False  # beats of the last two cycles' steps that are not in the queue
    taken = 0
    n_job = n_a = n_b = 0
    valid_job, valid_a, valid_b, ready_z = gap_job[0], gap_a[0], gap_b[0], gap_z[0]
    busy = stall_a = stall_b = stall_z = wait_job = 0

    t = 0
    while taken < z_cycles.size:
        pair = state == os_state and step >= idle_slots and turn < turns
        act = state == ws_state and step < length
        load = (state == load_state and step != rows) or (
            state == ws_state
            and load_delay <= step < load_delay + rows
            and not (fold == folds - 1 and tile == tiles - 1)
        )
        a_ok = not need_a or t >= valid_a
        b_ok = not need_b or t >= valid_b
        z_ok = level <= RESULT_QUEUE - 3
        en = a_ok and b_ok and z_ok

        if not held:
            wait_job += 1
        elif en:
            busy += 1
        elif not z_ok:
            stall_z += 1
        elif not a_ok:
            stall_a += 1
        else:
            stall_b += 1

        if level > 0 and t >= ready_z:
            z_cycles[taken] = t
            taken += 1
            ready_z = t + 1 + gap_z[taken % gap_z.size]
            level -= 1
        level += arriving
        arriving = decided
        decided = en and emit[now]
        if en:
            emit[now] = False
            if need_a:
                n_a += 1
                valid_a = t + 1 + gap_a[n_a % gap_a.size]
            if need_b:
                n_b += 1
                valid_b = t + 1 + gap_b[n_b % gap_b.size]
        if not ahead:
            kept_held = state != idle_state
            kept_a = act or (pair and word == 0 and turn == 0)
            kept_b = pair or load
        if en:
            held, need_a, need_b = kept_held, kept_a, kept_b

        if state == idle_state:
            ready = drained == flush and not ahead
            if next_job < len(jobs) and jobs[next_job, 0] == mode:
                ready = True
            if not ahead and drained != flush:
                drained += 1
            if next_job < len(jobs) and t >= valid_job and ready:
                mode, tiles, folds = jobs[next_job, 0], jobs[next_job, 1], jobs[next_job, 2]
                length, word_steps = jobs[next_job, 3], jobs[next_job, 4]
                next_job += 1
                n_job += 1
                valid_job = t + 1 + gap_job[n_job % gap_job.size]
                tile = fold = word = step = turn = 0
                drained = 0
                if mode == OS:
                    steps_last = max(length, drain_slots) - 1
                    idle_slots = max(drain_slots - length, 0)
                    state = os_state
                else:
                    steps_last = max(length, fold_steps) - 1
                    state = load_state
        elif not ahead and state == os_state:
            if step == steps_last and turn == turns - 1:
                for j in range(rows * turns):
                    emit[(now + os_exit + j) % size] = True
            turn += 1
            if turn == slot_steps:
                turn = 0
                if step >= idle_slots:
                    word = 0 if word == word_steps - 1 else word + 1
                step += 1
            if step > steps_last:
                step = word = 0
                tile += 1
                if tile == tiles:
                    state = idle_state
        elif not ahead and state == load_state:
            step += 1
            if step > rows:
                step = 0
                state = ws_state
        elif not ahead:
            if act and fold == folds - 1:
                emit[(now + ws_exit) % size] = True
            step += 1
            if step > steps_last:
                step = 0
                fold += 1
                if fold == folds:
                    fold = 0
                    tile += 1
                    if tile == tiles:
                        state = idle_state
        if en:
            now = (now + 1) % size
        ahead = not en
        t += 1
    return t, busy, stall_a, stall_b, stall_z, wait_job, drained


@njit(cache=True)
def _values(jobs, turns, a, b_values, b_indices, z):  # pragma: no cover - compiled
    rows, cols = a.shape[1], b_values.shape[1]
    at_a = at_b = at_z = 0
    for j in range(jobs.shape[0]):
        mode, tiles, folds = jobs[j, 0], jobs[j, 1], jobs[j, 2]
        length, word_steps = jobs[j, 3], jobs[j, 4]
        for _ in range(tiles):
            if mode == OS:
                for s in range(length):
                    if s % word_steps == 0:
                        at_a += 1
                    for turn in range(turns):
                        for r in range(rows):
                            beat = at_z + (rows - 1 - r) * turns + turn  # the last row leaves first
                            for c in range(cols):
                                z[beat, c] += a[at_a - 1, r, b_indices[at_b, c]] * b_values[at_b, c]
                        at_b += 1
                at_z += rows * turns
            else:
                for _ in range(folds):
                    for i in range(length):
                        for r in range(rows):
                            slot = at_b + rows - 1 - r
                            for c in range(cols):
                                z[at_z + i, c] += a[at_a, r, b_indices[slot, c]] * b_values[slot, c]
                        at_a += 1
                    at_b += rows
                at_z += length
