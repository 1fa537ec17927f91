"""EdgeDRNN's cycle law: the kernel against the published algorithm, word for word, and its table.

What `edgedrnn_cycles.csv` allows to check: it holds means over timesteps without the positions of
the non-zeros. Every cycle beyond those of the weight columns and the pipeline comes from waiting
for the scan, so the table's means bound the waiting from below by 0, and non-zeros spread evenly
over the scan must land close to them. Equality step by step cannot be checked from the table.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.dataflows.delta_rnn import (
    dense_cycles,
    layer_cycles,
    layer_cycles_many,
    network_cycles,
    step_cycles,
)


def slow(
    inputs: int,
    hidden: int,
    positions: set[int],
    num_pe: int = 8,
    depth: int = 32,
    column: int | None = None,
) -> int:
    """The algorithm as it is printed, with lists and sets."""
    column = column or 3 * hidden // num_pe
    items = sorted(positions | {inputs - 1, inputs + hidden - 1})
    free, shift, end = -9, 0, []
    for n, p in enumerate(items):
        available = p + shift + (0 if p < inputs else 1)
        if n >= depth - 1 and available < end[n - depth + 1]:
            shift += end[n - depth + 1] - available
            available = end[n - depth + 1]
        free = max(available, free) + (column if p in positions else 1)
        end.append(free)
    return free + 5 * hidden // num_pe


@st.composite
def machines(draw: st.DrawFn) -> tuple[int, int, int, int]:
    num_pe = draw(st.sampled_from((1, 2, 3, 4, 8, 16)))
    hidden = num_pe * draw(st.integers(1, 12))
    return draw(st.integers(1, 80)), hidden, num_pe, draw(st.integers(2, 40))


@given(machine=machines(), density=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_equals_the_algorithm(machine, density, seed):
    inputs, hidden, num_pe, depth = machine
    mask = np.random.default_rng(seed).random((3, inputs + hidden)) < density
    wanted = [slow(inputs, hidden, set(np.flatnonzero(m).tolist()), num_pe, depth) for m in mask]
    assert layer_cycles_many(inputs, hidden, mask, num_pe, depth).tolist() == wanted
    singles = [layer_cycles(inputs, hidden, np.flatnonzero(m), num_pe, depth) for m in mask]
    assert singles == wanted


@given(
    positions=st.sets(st.integers(0, 47)), data=st.data(), form=st.sampled_from((list, set, tuple))
)
def test_positions_come_in_any_order_and_form(positions, data, form):
    shuffled = data.draw(st.permutations(sorted(positions)))
    assert layer_cycles(16, 32, form(shuffled)) == slow(16, 32, positions)
    assert layer_cycles(16, 32, np.array(shuffled, np.int64)) == slow(16, 32, positions)


@pytest.mark.parametrize("positions", [[], [0], [399], [799], [399, 799], range(800)])
def test_edges(positions):
    assert layer_cycles(400, 400, positions) == slow(400, 400, set(positions))


def test_dense_network_of_the_speech_table():
    """Two GRU layers of 400 units: 240,529 cycles when nothing is zero."""
    assert dense_cycles([(400, 400), (400, 400)]) == 240529


def test_latency_of_a_step():
    """Layers run one after the other; each adds 15 cycles, the first one of them less."""
    layers = [(40, 64, [1, 5, 60]), (64, 64, [0, 127])]
    assert step_cycles(layers) == sum(slow(x, h, set(p)) for x, h, p in layers) + 15 * 2 - 1
    masks = [(x, h, [[i in p for i in range(x + h)]] * 4) for x, h, p in layers]
    assert network_cycles(masks).tolist() == [step_cycles(layers)] * 4


@pytest.mark.parametrize(("latency", "more"), [(0, 0), (1, 0), (2, 1), (30, 29)])
def test_memory_latency_is_paid_once_a_layer_step(latency, more):
    layers = [(40, 64, [1, 5, 60]), (64, 64, [0, 127])]
    late = step_cycles(layers, memory_latency=latency)
    assert late == step_cycles(layers) + 2 * more


def test_memory_slower_than_the_lanes():
    mask = np.random.default_rng(0).random((5, 40 + 32)) < 0.4
    wanted = [slow(40, 32, set(np.flatnonzero(m).tolist()), column=20) for m in mask]
    assert layer_cycles_many(40, 32, mask, column_cycles=20).tolist() == wanted
    with pytest.raises(ValueError, match="column_cycles must be at least 12, but got 11"):
        layer_cycles_many(40, 32, mask, column_cycles=11)


def test_fifo_depth_matters_only_when_the_lanes_are_behind():
    burst = list(range(100, 140))
    assert layer_cycles(128, 128, burst, fifo_depth=2) == slow(128, 128, set(burst), depth=2)
    late = layer_cycles(2048, 8, [*range(64), 2000], fifo_depth=4)
    assert late == slow(2048, 8, {*range(64), 2000}, depth=4)
    assert late > layer_cycles(2048, 8, [*range(64), 2000], fifo_depth=128)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 8, []), "inputs must be in"),
        ((8, 0, []), "hidden must be in"),
        ((8, 12, []), "hidden must be a multiple of num_pe, but got hidden=12 and num_pe=8"),
        ((8, 8, [16]), "positions must be in 0..inputs\\+hidden-1 = 0..15, but got 16"),
        ((8, 8, [3, -1]), "but got -1"),
        ((8, 8, [0.5]), "positions must be a flat sequence of integers"),
        ((8, 8, [], 0), "num_pe must be in"),
        ((8, 8, [], 8, 1), "fifo_depth must be in 2"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_cycles(*arguments)


def test_bad_masks():
    with pytest.raises(ValueError, match=r"nonzero must be .steps, inputs . hidden = 16"):
        layer_cycles_many(8, 8, np.zeros((3, 15), bool))
    with pytest.raises(ValueError, match=r"same number of steps, but got .3, 2."):
        network_cycles([(8, 8, np.zeros((3, 16), bool)), (8, 8, np.zeros((2, 16), bool))])
    with pytest.raises(ValueError, match="at least one layer"):
        step_cycles([])


def _table(shared: Path) -> list[dict[str, str]]:
    text = (shared / "reference" / "edgedrnn_cycles.csv").read_text()
    return list(csv.DictReader(x for x in text.splitlines() if not x.startswith("#")))


def test_table_of_the_authors_rtl(shared):
    for row in _table(shared):
        layers, inputs, hidden = (int(row[name]) for name in ("layers", "inputs", "hidden"))
        nonzeros, measured = float(row["nnz_per_step"]), float(row["cycles"])
        shapes = [(inputs, hidden), *[(hidden, hidden)] * (layers - 1)]
        items = sum(x + h for x, h in shapes)
        assert items == int(row["items"])
        assert float(row["sparsity"]) == pytest.approx(1 - nonzeros / items, abs=6e-4)
        # columns and pipeline alone: the rest is waiting for the scan, at most one scan a layer
        column, rest = 3 * hidden // 8, layers * (5 * hidden // 8 + 15) - 1
        waited = measured - nonzeros * column - rest
        assert -0.05 * column <= waited <= items, row  # nnz_per_step has one decimal
        rng = np.random.default_rng(0)
        masks = [rng.random((400, x + h)) < nonzeros / items for x, h in shapes]
        even = network_cycles((x, h, mask) for (x, h), mask in zip(shapes, masks, strict=True))
        columns = column * sum(mask.sum(axis=1) for mask in masks)
        assert (even - columns - rest).mean() == pytest.approx(waited, abs=0.01 * measured), row
