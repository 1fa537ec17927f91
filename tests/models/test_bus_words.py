"""How beats lie in bus words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwsim.models.bus_words import (
    beats_per_word,
    pack_beats,
    pack_rows,
    run_bytes,
    slot_bytes,
    unpack_beats,
    unpack_rows,
    words_per_beat,
)

BUSES = st.sampled_from([8, 32, 64, 128, 512])


@given(st.data(), st.integers(1, 300), BUSES)
def test_what_is_packed_comes_back(data, beat_bits, bus_bits):
    beats = data.draw(st.lists(st.integers(0, 2**beat_bits - 1), max_size=20))
    image = pack_beats(beats, beat_bits, bus_bits)
    assert len(image) == run_bytes(len(beats), beat_bits, bus_bits)
    assert unpack_beats(image, len(beats), beat_bits, bus_bits) == beats
    rows = [list(beat.to_bytes(-(-beat_bits // 8), "little")) for beat in beats]
    if rows:
        assert np.array_equal(pack_rows(rows, beat_bits, bus_bits), image)
        assert np.array_equal(unpack_rows(image, len(beats), beat_bits, bus_bits), rows)


@given(st.integers(1, 300), BUSES)
def test_no_beat_straddles_words_that_could_hold_it(beat_bits, bus_bits):
    slot, word = slot_bytes(beat_bits, bus_bits), bus_bits // 8
    assert slot * 8 >= beat_bits
    assert word % slot == 0 or slot % word == 0
    assert (beats_per_word(beat_bits, bus_bits) == 0) == (slot > word)
    assert words_per_beat(beat_bits, bus_bits) == max(1, slot // word)
    assert slot < 2 * max(word, -(-beat_bits // 8))  # at most half of it is padding


def test_the_rule_by_example():
    assert [slot_bytes(bits, 64) for bits in (1, 8, 9, 17, 33, 64, 65, 129)] == [
        1, 1, 2, 4, 8, 8, 16, 24,
    ]  # fmt: skip
    assert pack_beats([0x12345, 0x6789A, 0xBCDEF], 20, 64).tobytes() == bytes.fromhex(
        "45230100 9a780600 efcd0b00 00000000"
    )
    assert pack_beats([0x1_02030405_06070809], 65, 64).tobytes() == bytes.fromhex(
        "0908070605040302 0100000000000000"
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="beats must have 4 bits at most, but got 0x10"):
        pack_beats([16], 4, 64)
    with pytest.raises(ValueError, match="beats must have 4 bits at most, but got -0x1"):
        pack_beats([-1], 4, 64)
    with pytest.raises(ValueError, match="beat_bits >= 1 must hold, but got 0"):
        slot_bytes(0, 64)
    with pytest.raises(ValueError, match="bus_bits must be a power of two >= 8, but got 48"):
        slot_bytes(4, 48)
    with pytest.raises(ValueError, match="3 beats take 12 bytes, but got 8"):
        unpack_beats(bytes(8), 3, 20, 64)
    with pytest.raises(ValueError, match=r"rows must be \(beats, 3\), but got shape \(2, 2\)"):
        pack_rows([[1, 2], [3, 4]], 20, 64)
