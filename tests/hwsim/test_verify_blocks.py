"""Random cases for the blocks around the array: what is dealt out, and what is reported."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.block_random import random_gaps, random_post, random_selection, random_update
from hwsim.config import load_config
from hwsim.errors import UserError
from hwsim.verify_blocks import verify_blocks
from hwsim.verify_words import field_bits, pack_words, unpack_field


def sat(*overrides):
    return load_config("sat", overrides)


@pytest.mark.xdist_group("rtl-sore")  # the same design as in tests/levels/test_sore.py
def test_one_case_runs_the_first_block():
    told = []
    done = verify_blocks(sat("sore_lanes=3", "sparsity=3:8"), 1, 5, told.append)
    assert [d.block for d in done] == ["sore"]
    assert done[0].ok, done[0].detail
    assert done[0].rtl_cycles > 0
    assert told == ["building sore with Verilator", "running 1 cases on sore"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        ["sparsity=4:16", "adder_latency=1", "multiplier_latency=1"],
        ["sparsity=1:4", "adder_latency=7", "multiplier_latency=4", "wuve_lanes=1"],
    ],
    ids=" ".join,
)
def test_every_block_in_other_sizes(overrides):
    done = verify_blocks(sat(*overrides), 60, 1)
    assert {d.block for d in done} == {"sore", "wuve", "post", "rank"}
    assert [(d.block, d.case, d.detail) for d in done if not d.ok] == []
    assert len(done) == 60


def test_bad_counts_are_refused():
    with pytest.raises(UserError, match="cases must be at least 1, but got 0"):
        verify_blocks(sat(), 0, 1)
    with pytest.raises(UserError, match="seed must not be negative, but got -1"):
        verify_blocks(sat(), 1, -1)


def test_random_cases_follow_from_their_seed_and_agree_with_the_golden_model():
    latency = {"multiplier_latency": 2, "adder_latency": 2}
    makers = [
        lambda rng: random_selection(rng, "sore", lanes=2, n_max=2, m=4),
        lambda rng: random_selection(rng, "rank", lanes=2, n_max=2, m=4),
        lambda rng: random_update(rng, lanes=2, **latency),
        lambda rng: random_post(rng, cols=2, adder_latency=2),
    ]
    for make in makers:
        for seed in range(25):
            one, two = make(np.random.default_rng(seed)), make(np.random.default_rng(seed))
            assert (one.words, one.expected, one.gaps) == (two.words, two.expected, two.gaps)
            assert one.golden_error is None
            assert len(one.expected) == len(one.timeline.o_cycles)


def test_gaps_come_in_every_kind():
    kinds = {
        (bool(g.i), bool(g.o)) for g in (random_gaps(np.random.default_rng(s)) for s in range(40))
    }
    assert len(kinds) == 4


def test_words_and_fields_are_inverse():
    rng = np.random.default_rng(2)
    a = rng.integers(0, 1 << 19, (5, 3, 2))
    b = rng.integers(0, 1 << 7, (5, 3))
    lanes = np.concatenate([field_bits(a, 19).reshape(5, 3, 38), field_bits(b, 7)], axis=2)
    words = pack_words(lanes)
    assert (unpack_field(words, 135, 0, 45, (3, 2), 19) == a).all()
    assert (unpack_field(words, 135, 38, 45, (3,), 7) == b).all()
    assert words[0] & 0x7FFFF == a[0, 0, 0]
