"""The sparse tensor computing engine's cycle law: closed forms of what its RTL does.

The engine (`rtl/stce.py`) works through *jobs*. One job is T unit tiles of equal shape:

- output stationary: a tile of R x (C I) outputs, `length` = k' slots. In a slot every column takes
  I pairs in turn, one for each of the I interleaved column tiles, and an adder of latency L gets
  the next pair of an output max(I, L) steps after the last: a slot is P = max(I, L) steps, of which
  I issue. Tiles follow each other every max(k', ceil(R I / P)) slots, because a tile's R I result
  beats leave through the columns while the next one is summed.
- weight stationary: a tile of `length` = m rows of A against C columns of B, in F folds of R slots
  of k'. Folds follow each other every max(m, L R + 2) steps: the next fold's weights shift in
  behind the present one and a partial sum must have passed R adders before the next fold reads
  it. The first fold's weights take R + 1 steps alone.

A job costs one more cycle to accept its descriptor. Jobs of the same mode follow each other
without draining the array; a change of mode waits for it. A *step* is a clock cycle in which the
whole array advances; without stalls every cycle is a step.

k' counts the pairs of a column: k when dense, ceil(k / M) N at N:M. R, C, I and L are those of
`hwsim.models.array.ArrayShape`.
"""

from __future__ import annotations

from math import ceil

from hwsim.models.array import FRONT_STEPS, ArrayShape

__all__ = ["OS", "WS", "gemm_cycles", "gemm_jobs", "interval", "job_cycles", "tail_cycles"]

OS, WS = 0, 1
"""Values of a job's mode field, in kernels and RTL alike."""


def interval(mode: int, length: int, array: ArrayShape) -> int:
    """Steps from one tile (os) or fold (ws) to the next."""
    if mode == OS:
        return array.slot_steps * max(length, array.drain_slots)
    return max(length, array.fold_steps)


def job_cycles(mode: int, tiles: int, folds: int, length: int, array: ArrayShape) -> int:
    """Cycles from accepting a job to its last issue step, both included, without stalls."""
    if mode == OS:
        return 1 + tiles * interval(OS, length, array)
    return 1 + (array.rows + 1) + tiles * folds * interval(WS, length, array)


def tail_cycles(mode: int, length: int, array: ArrayShape) -> int:
    """Cycles from the last issue step of the last job to the transfer of its last result.

    Skew through rows and columns, the PE's pipeline, the drain, the output queue. Results of a
    short weight-stationary fold leave while the interval is still running, and the last slot's
    idle steps are part of the issue.
    """
    if mode == OS:
        idle = array.slot_steps - array.interleave
        return FRONT_STEPS + array.os_exit + array.tile_beats - idle
    return FRONT_STEPS + array.ws_exit + 1 - (interval(WS, length, array) - length)


def gemm_jobs(
    mode: int, m: int, n: int, k_steps: int, array: ArrayShape
) -> list[tuple[int, int, int]]:
    """The jobs (tiles, folds, length) that Z[m, n] = A B with k' = `k_steps` is cut into.

    Output stationary is one job. Weight stationary cuts m into equal chunks of at most
    `psum_depth` rows, and one shorter chunk where that does not divide.
    """
    if mode == OS:
        return [(ceil(m / array.rows) * ceil(n / array.tile_cols), 1, k_steps)]
    column_tiles, folds = ceil(n / array.cols), ceil(k_steps / array.rows)
    whole, rest = divmod(m, array.psum_depth)
    jobs = []
    if whole:
        jobs.append((whole * column_tiles, folds, array.psum_depth))
    if rest:
        jobs.append((column_tiles, folds, rest))
    return jobs


def gemm_cycles(mode: int, m: int, n: int, k_steps: int, array: ArrayShape) -> int:
    """Cycles of a whole product on an idle engine, from the first descriptor to the last result."""
    jobs = gemm_jobs(mode, m, n, k_steps, array)
    issue = sum(job_cycles(mode, *job, array) for job in jobs)
    return issue + tail_cycles(mode, jobs[-1][2], array)
