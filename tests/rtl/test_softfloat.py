"""NumPy's arithmetic, which every golden value rests on, against Berkeley SoftFloat.

The four operations of the engine: FP16 x FP16 -> FP32, FP32 + FP32, FP32 x FP32, FP32 -> FP16.
All pairs of directed patterns, and random ones; NaNs compare as the canonical one, since payloads
are no part of the contract.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hwsim.models.formats import CANONICAL_NAN_BITS, FP16
from hwsim.models.update import fp16_copy

softfloat = pytest.importorskip("softfloatpy")

FAST, SLOW = 20_000, 1_000_000

HALF = [
    0x0000, 0x0001, 0x0002, 0x01FF, 0x0200, 0x0201, 0x03FE, 0x03FF, 0x0400, 0x0401, 0x07FF, 0x0800,
    0x3555, 0x3BFF, 0x3C00, 0x3C01, 0x4000, 0x6BFF, 0x7800, 0x7BFE, 0x7BFF, 0x7C00, 0x7C01, 0x7D55,
    0x7E00, 0x7FFF,
]  # fmt: skip
SINGLE = [
    0x00000000, 0x00000001, 0x00000002, 0x003FFFFF, 0x00400000, 0x007FFFFE, 0x007FFFFF, 0x00800000,
    0x00800001, 0x00FFFFFF, 0x01000000, 0x1F800000, 0x1FFFFFFF, 0x20000000, 0x20000001, 0x33000000,
    0x33000001, 0x33800000, 0x33800001, 0x33FFFFFF, 0x387FC000, 0x387FDFFF, 0x387FE000, 0x387FE001,
    0x387FFFFF, 0x38800000, 0x38800FFF, 0x38801000, 0x38801001, 0x38803000, 0x3F000000, 0x3F7FFFFF,
    0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x40000000, 0x477FE000, 0x477FEFFF, 0x477FF000, 0x477FFFFF,
    0x47800000, 0x4B000000, 0x4B7FFFFF, 0x4B800000, 0x4B800001, 0x5F7FFFFF, 0x5F800000, 0x7E800000,
    0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FA00001, 0x7FC00000, 0x7FFFFFFF,
]  # fmt: skip


def directed(patterns, sign):
    signed = patterns + [p | sign for p in patterns]
    return np.array(list(itertools.product(signed, signed)), np.int64)


def random_singles(rng, count):
    """Half of any bits; a quarter of neighbouring scale, a quarter whose product is near the least
    or the largest normal number."""
    pairs = rng.integers(0, 1 << 32, (count, 2))
    near = slice(count // 2, 3 * count // 4)
    step = rng.integers(-27, 28, len(pairs[near]))
    exponent = ((pairs[near, 0] >> 23 & 0xFF) + step).clip(0, 254)
    pairs[near, 1] = (pairs[near, 1] & 0x807FFFFF) | (exponent << 23)
    edge = slice(3 * count // 4, count)
    size = len(pairs[edge])
    total = np.where(rng.integers(0, 2, size), rng.integers(100, 130, size), 381)
    first = rng.integers(1, 254, size).clip(total - 254, total - 1).clip(0, 254)
    for column, field in ((0, first), (1, (total - first).clip(0, 254))):
        pairs[edge, column] = (pairs[edge, column] & 0x807FFFFF) | (field << 23)
    return pairs


def half(bits):
    return softfloat.Float16.from_bytes(bits.to_bytes(2, "big"))


def single(bits):
    return softfloat.Float32.from_bytes(bits.to_bytes(4, "big"))


def bits_of(results, width):
    """Bit patterns of SoftFloat results, NaNs canonical."""
    raw = np.frombuffer(b"".join(r.to_bytes() for r in results), f">u{width}").astype(np.uint32)
    low, top, nan = {2: (0x7FFF, 0x7C00, 0x7E00), 4: (0x7FFFFFFF, 0x7F800000, CANONICAL_NAN_BITS)}[
        width
    ]
    return np.where((raw & low) > top, np.uint32(nan), raw)


def floats(bits):
    return bits.astype(np.uint32).view(np.float32)


def halves(bits):
    return bits.astype(np.uint16).view(np.float16)


def agree(pairs, ours, theirs):
    wrong = np.flatnonzero(ours != theirs)
    assert wrong.size == 0, (
        f"{wrong.size} of {len(ours)} differ; the first operands "
        f"{[hex(v) for v in np.atleast_1d(pairs[wrong[0]])]}: "
        f"{ours[wrong[0]]:#x} against {theirs[wrong[0]]:#x}"
    )


@pytest.fixture(params=[FAST, pytest.param(SLOW, marks=pytest.mark.slow)], ids=["fast", "million"])
def count(request):
    return request.param


@pytest.fixture(autouse=True)
def nearest_even():
    softfloat.set_rounding_mode(softfloat.RoundingMode.NEAR_EVEN)


def test_fp16_multiply_is_exact_in_fp32(count):
    rng = np.random.default_rng(11)
    pairs = np.concatenate([directed(HALF, 0x8000), rng.integers(0, 1 << 16, (count, 2))])
    a, b = (halves(pairs[:, i]).astype(np.float32) for i in (0, 1))
    with np.errstate(all="ignore"):
        ours = FP16.bits(FP16.finish(a * b))
    softfloat.set_exception_flags(0)
    wide = [
        (softfloat.f16_to_f32(half(x)), softfloat.f16_to_f32(half(y))) for x, y in pairs.tolist()
    ]
    agree(pairs, ours, bits_of([softfloat.f32_mul(x, y) for x, y in wide], 4))
    assert not softfloat.test_exception_flags(softfloat.ExceptionFlag.INEXACT)


@pytest.mark.parametrize("operation", ["add", "mul"])
def test_fp32(operation, count):
    pairs = np.concatenate(
        [directed(SINGLE, 0x80000000), random_singles(np.random.default_rng(12), count)]
    )
    a, b = floats(pairs[:, 0]), floats(pairs[:, 1])
    with np.errstate(all="ignore"):
        z = a + b if operation == "add" else a * b
    subnormal = (z != 0) & (np.abs(z) < np.finfo(np.float32).tiny)
    # the cases reach what they are for; random sums are seldom subnormal, the directed ones are
    assert subnormal.sum() > {"add": 100, "mul": count // 200}[operation]
    function = getattr(softfloat, f"f32_{operation}")
    theirs = bits_of([function(single(x), single(y)) for x, y in pairs.tolist()], 4)
    agree(pairs, FP16.bits(FP16.finish(z)), theirs)


def test_fp32_to_fp16(count):
    rng = np.random.default_rng(13)
    edges = np.array(SINGLE + [p | 0x80000000 for p in SINGLE], np.int64)
    # every FP16 boundary of the positive half: the tie between two neighbours and beside it
    grid = np.arange(0, 0x7C00, 1 if count == SLOW else 7, dtype=np.uint16)
    low, high = (halves(g).astype(np.float64) for g in (grid, grid + 1))
    high[~np.isfinite(high)] = 65536.0
    ties = ((low + high) / 2).astype(np.float32).view(np.uint32).astype(np.int64)
    inside = rng.integers(90 << 23, 145 << 23, count // 2) | (rng.integers(0, 2, count // 2) << 31)
    values = np.concatenate(
        [edges, ties - 1, ties, ties + 1, inside, rng.integers(0, 1 << 32, count // 2)]
    )
    ours = fp16_copy(floats(values)).view(np.uint16).astype(np.uint32)
    theirs = bits_of([softfloat.f32_to_f16(single(v)) for v in values.tolist()], 2)
    agree(values, ours, theirs)
