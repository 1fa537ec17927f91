"""Number formats of the compute cores: the operand type, the accumulator type, their rules.

FP16 x FP16 + FP32: the product of two FP16 values is exact in FP32 (22 significand bits of 24),
and every product and partial sum is a multiple of 2**-48, so an accumulation of FP16 products
meets no FP32 subnormal. Each addition rounds to nearest even. A NaN leaves the accumulator as the
canonical quiet NaN, because the hardware keeps no payload.

INT8 x INT8 + INT32: the accumulator wraps modulo 2**32, as the adder does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CANONICAL_NAN_BITS", "FORMATS", "FP16", "INT8", "NumberFormat", "number_format"]

CANONICAL_NAN_BITS = 0x7FC00000
"""The FP32 quiet NaN that every core returns: sign 0, exponent all ones, top fraction bit."""


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """An operand format with the accumulator it is summed in.

    Attributes:
        name: the value of a configuration's `format` field.
        operand_dtype, accumulator_dtype: NumPy dtypes.
        operand_bits, accumulator_bits: widths in bits.
    """

    name: str
    operand_dtype: np.dtype
    accumulator_dtype: np.dtype

    @property
    def operand_bits(self) -> int:
        return self.operand_dtype.itemsize * 8

    @property
    def accumulator_bits(self) -> int:
        return self.accumulator_dtype.itemsize * 8

    @property
    def operand_bytes(self) -> int:
        return self.operand_dtype.itemsize

    @property
    def accumulator_bytes(self) -> int:
        return self.accumulator_dtype.itemsize

    @property
    def is_float(self) -> bool:
        return self.operand_dtype.kind == "f"

    def operand(self, values: ArrayLike) -> NDArray:
        """Values in the operand format: FP16 rounds to nearest even; INT8 must be in range.

        Raises:
            ValueError: an integer format was given a value that it cannot hold.
        """
        array = np.asarray(values)
        if array.dtype == self.operand_dtype:
            return array
        if self.is_float:
            with np.errstate(over="ignore"):  # a value above 65504 becomes infinity, as in hardware
                return array.astype(self.operand_dtype)
        info = np.iinfo(self.operand_dtype)
        if array.size and (array.min() < info.min or array.max() > info.max):
            raise ValueError(
                f"{self.name} operands must lie in {info.min}..{info.max}, "
                f"but got {array.min()}..{array.max()}"
            )
        return array.astype(self.operand_dtype)

    def finish(self, accumulator: NDArray) -> NDArray:
        """What leaves the accumulator: NaNs made canonical, everything else untouched."""
        if self.is_float and np.isnan(accumulator).any():
            bits = accumulator.view(np.uint32).copy()
            bits[np.isnan(accumulator)] = CANONICAL_NAN_BITS
            return bits.view(np.float32)
        return accumulator

    def bits(self, accumulator: NDArray) -> NDArray[np.uint32]:
        """The accumulator's bit patterns, for comparisons that tell -0.0 from 0.0."""
        return np.ascontiguousarray(accumulator, dtype=self.accumulator_dtype).view(np.uint32)


FP16 = NumberFormat(
    name="fp16",
    operand_dtype=np.dtype(np.float16),
    accumulator_dtype=np.dtype(np.float32),
)
INT8 = NumberFormat(
    name="int8",
    operand_dtype=np.dtype(np.int8),
    accumulator_dtype=np.dtype(np.int32),
)
FORMATS = {FP16.name: FP16, INT8.name: INT8}


def number_format(name: str) -> NumberFormat:
    """The format of that name.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(FORMATS)
        raise ValueError(f"format must be one of {known}, but got {name!r}") from None
