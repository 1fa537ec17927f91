"""The sparse tensor computing engine's cycle law: closed forms of what its RTL does.

The engine (`rtl/stce.py`) works through *jobs*. One job is T unit tiles of equal shape:

- output stationary: a tile of rows x cols outputs, `length` = k' steps, one (value, index) pair a
  step and column. Tiles follow each other every max(k', rows) steps, because a tile's results
  leave through the column in `rows` steps while the next one is summed.
- weight stationary: a tile of `length` = m rows of A against cols columns of B, in F folds of
  `rows` slots of k'. Folds follow each other every max(m, rows + 2) steps: the next fold's weights
  shift in behind the present one (rows steps) and a partial sum must have left the column before
  the next fold reads it (rows + 2). The first fold's weights take rows + 1 steps alone.

A job costs one more cycle to accept its descriptor. Jobs of the same mode follow each other
without draining the array; a change of mode waits for it. A *step* is a clock cycle in which the
whole array advances; without stalls every cycle is a step.

k' counts the pairs of a column: k when dense, ceil(k / M) N at N:M.
"""

from __future__ import annotations

from math import ceil

__all__ = [
    "OS",
    "WS",
    "flush_steps",
    "gemm_cycles",
    "gemm_jobs",
    "interval",
    "job_cycles",
    "tail_cycles",
]

OS, WS = 0, 1
"""Values of a job's mode field, in kernels and RTL alike."""


def interval(mode: int, length: int, rows: int) -> int:
    """Steps from one tile (os) or fold (ws) to the next."""
    return max(length, rows) if mode == OS else max(length, rows + 2)


def job_cycles(mode: int, tiles: int, folds: int, length: int, rows: int) -> int:
    """Cycles from accepting a job to its last issue step, both included, without stalls."""
    if mode == OS:
        return 1 + tiles * interval(OS, length, rows)
    return 1 + (rows + 1) + tiles * folds * interval(WS, length, rows)


def tail_cycles(mode: int, length: int, rows: int, cols: int) -> int:
    """Cycles from the last issue step of the last job to the transfer of its last result.

    Skew through rows and columns, two pipeline stages in a PE, the drain, the output register.
    Weight-stationary results of a short fold leave while the interval is still running.
    """
    if mode == OS:
        return 2 * rows + cols + 2
    return rows + cols + 3 - (interval(WS, length, rows) - length)


def flush_steps(rows: int, cols: int) -> int:
    """Steps after a job until a job of the other mode may start."""
    return 2 * rows + cols + 2


def gemm_jobs(
    mode: int, m: int, n: int, k_steps: int, rows: int, cols: int, psum_depth: int
) -> list[tuple[int, int, int]]:
    """The jobs (tiles, folds, length) that Z[m, n] = A B with k' = `k_steps` is cut into.

    Output stationary is one job. Weight stationary cuts m into equal chunks of at most
    `psum_depth` rows, and one shorter chunk where that does not divide.
    """
    column_tiles = ceil(n / cols)
    if mode == OS:
        return [(ceil(m / rows) * column_tiles, 1, k_steps)]
    folds = ceil(k_steps / rows)
    whole, rest = divmod(m, psum_depth)
    jobs = []
    if whole:
        jobs.append((whole * column_tiles, folds, psum_depth))
    if rest:
        jobs.append((column_tiles, folds, rest))
    return jobs


def gemm_cycles(
    mode: int, m: int, n: int, k_steps: int, rows: int, cols: int, psum_depth: int
) -> int:
    """Cycles of a whole product on an idle engine, from the first descriptor to the last result."""
    jobs = gemm_jobs(mode, m, n, k_steps, rows, cols, psum_depth)
    issue = sum(job_cycles(mode, *job, rows) for job in jobs)
    return issue + tail_cycles(mode, jobs[-1][2], rows, cols)
