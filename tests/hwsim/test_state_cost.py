"""Cost of state: what DRAM adds, byte by byte; break-even in closed form; where savings end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.config import load_config
from hwsim.engine_edgedrnn import LayerStream
from hwsim.state_cost import break_even, cnn_clip, cnn_rows, crossing, crossings, gru_rows


@pytest.fixture(scope="module")
def cnn():
    return cnn_rows(cnn_clip(frames=4, size=(24, 32)), (2, 8, 32))


@pytest.fixture(scope="module")
def gru():
    rng = np.random.default_rng(0)
    return gru_rows(
        [
            (theta, [LayerStream(16, 16, rng.random((20, 32)) < share, np.zeros((20, 16)), 0)])
            for theta, share in ((0, 0.9), (64, 0.3), (512, 0.0))
        ]
    )


def pairs(rows):
    """(on chip, in DRAM) of the same point and place of weights."""
    for row in rows:
        if row["state"] == "chip":
            yield (
                row,
                next(
                    r
                    for r in rows
                    if r["state"] == "dram"
                    and (r["value"], r["weights"]) == (row["value"], row["weights"])
                ),
            )


@pytest.mark.parametrize("which", ["cnn", "gru"])
def test_dram_adds_what_it_moves_and_nothing_else(which, request):
    rows = request.getfixturevalue(which)
    energy = load_config("dal" if which == "cnn" else "edgedrnn").energy.dram_pj
    count = 0
    for chip, dram in pairs(rows):
        moved = dram["dram_bytes"] - chip["dram_bytes"]
        assert moved == dram["dram_state_bytes"] > 0 == chip["dram_state_bytes"]
        assert dram["energy_uj"] - chip["energy_uj"] == pytest.approx(1e-6 * moved * energy)
        assert dram["state_energy_uj"] - chip["state_energy_uj"] == pytest.approx(
            1e-6 * moved * energy
        )
        assert (chip["share"], chip["state_bytes"]) == (dram["share"], dram["state_bytes"])
        assert chip["energy_gain_same"] / dram["energy_gain_same"] == pytest.approx(
            dram["energy_uj"] / chip["energy_uj"]
        )
        assert dram["cycles"] >= chip["cycles"]
        count += 1
    assert count == len(rows) / 2


def test_cnn_by_hand(cnn):
    """24 x 32: 1-8 filters, pool, 8-16, pool, 16-16; sums of 24 bits, codes of 8."""
    outputs = [24 * 32 * 8, 12 * 16 * 16, 6 * 8 * 16]
    inputs = [24 * 32, 12 * 16 * 8, 6 * 8 * 16]
    products = 9 * (outputs[0] + outputs[1] * 8 + outputs[2] * 16)
    for row in cnn:
        assert row["state_bytes"] == 3 * sum(outputs) + sum(inputs)
        assert row["reference_bytes"] == sum(inputs)
        assert 0 < row["share"] < 1
        if row["state"] == "dram":
            least, most = 3 * sum(outputs) + sum(inputs), 2 * row["state_bytes"]
            assert least <= row["dram_state_bytes"] <= most
    e = load_config("dal").energy
    ideal = 1e-6 * products * (e.mac_pj + e.weight_pj)  # taps on padding among them
    for row in cnn:
        found = row["energy_gain_ideal"] * row["energy_uj"]
        assert 0.85 * ideal < found < ideal  # taps on padding are no events
    shares = [row["share"] for row in cnn if row["state"] == "chip"]
    assert shares == sorted(shares, reverse=True)


def test_gru_by_hand(gru):
    e = load_config("edgedrnn").energy
    for row in gru:
        assert row["state_bytes"] == 32 * 2 + 4 * 16 * 3 + 16 * 2
        assert row["reference_bytes"] == 32 * 2
        weight = e.weight_pj + (e.dram_pj if row["weights"] == "dram" else 0)
        ideal = 1e-6 * 32 * 48 * (e.mac_pj + weight)
        assert row["energy_gain_ideal"] * row["energy_uj"] == pytest.approx(ideal)
        assert row["cycle_gain_ideal"] * row["cycles"] == pytest.approx(32 * 48 / 8)
        if row["state"] == "dram":
            assert row["dram_state_bytes"] == 2 * row["state_bytes"]
            with_less = row["bandwidth_erased"]
            # a frame of this engine with nothing skipped is as long as this one's at that bandwidth
            chip = next(c for c, d in pairs(gru) if d is row)
            dense = chip["cycle_gain_same"] * chip["cycles"]
            assert chip["cycles"] + row["dram_state_bytes"] / with_less == pytest.approx(dense)


@given(
    products=st.integers(1, 10**5),
    state=st.sampled_from(("chip", "dram")),
    dense=st.sampled_from(("same", "ideal")),
    weights=st.sampled_from(("chip", "dram")),
)
def test_at_the_break_even_both_take_the_same(products, state, dense, weights):
    config = load_config("dal")
    share = break_even(products, config, state=state, dense=dense, weights=weights)
    e = config.energy
    # byte by byte: a sum has three, a weight one
    multiply = e.mac_pj + e.weight_pj + (e.dram_pj if weights == "dram" else 0)
    add, walk = 6 * e.state_pj, 6 * (e.state_pj + (e.dram_pj if state == "dram" else 0))
    whole = products * multiply
    if dense == "same":
        whole += products * add + 6 * e.state_pj
    delta = products * share * (multiply + add) + walk
    if 0 < share < 1:
        assert delta == pytest.approx(whole)
    elif share == 0:
        assert walk >= whole
    else:
        assert delta <= whole * (1 + 1e-12)


def test_more_products_a_sum_leave_more_room():
    config = load_config("dal")
    for dense in ("same", "ideal"):
        shares = [break_even(9 * 4**i, config, state="dram", dense=dense) for i in range(6)]
        assert shares == sorted(shares)
        assert shares[0] == 0 < shares[-1]
        assert break_even(4608, config, state="chip", dense=dense) >= shares[-1]


def points(*gains):
    shares = np.linspace(0.1, 0.9, len(gains))
    return [
        {"share": float(share), "value": index, "gain": gain}
        for index, (share, gain) in enumerate(zip(shares, gains, strict=True))
    ]


def test_where_a_saving_ends():
    assert crossing(points(4.0, 2.0, 1.5), "gain") == {"share": None, "between": []}
    assert crossing(points(0.9, 0.8, 0.5), "gain") == {"share": 0.0, "between": []}
    found = crossing(points(4.0, 2.0, 0.5)[::-1], "gain")
    assert found["between"] == [1, 2]
    # the cost is 0.5 at 0.5 of the products and 2 at 0.9 of them: 1 at a third of the way
    assert found["share"] == pytest.approx(0.5 + 0.4 / 3)


def test_crossings_name_every_place(cnn, gru):
    found = crossings([*cnn, *gru])
    keys = [(r["workload"], r["weights"], r["state"], r["dense"]) for r in found]
    assert len(set(keys)) == len(keys) == 2 * 2 + 4 * 2
