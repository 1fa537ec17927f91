"""Sizes and number formats of the delta engine: what simulator and RTL must agree on.

`hwsim.config_delta.DeltaConfig` makes a `DeltaShape` from a user's configuration.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DeltaShape", "FactorBits"]


class FactorBits:
    """Widths of a requantiser's constants: its factor, and the shift behind it."""

    MULTIPLIER = 16
    SHIFT = 6


@dataclass(frozen=True, kw_only=True)
class DeltaShape:
    """Sizes of an engine; `hwsim.config_delta.DeltaConfig` says what each is."""

    gru: bool
    lanes: int
    detector_width: int
    fifo_depth: int
    prefetch: int
    activation_bits: int
    activation_fraction: int
    weight_bits: int
    weight_fraction: int
    accumulator_bits: int
    table_bits: int
    table_range_bits: int
    reference_words: int
    sigma_words: int
    parameter_words: int
    coordinate_bits: int
    channel_bits: int
    address_bits: int

    @property
    def item_bits(self) -> int:
        """Of an element on a stream, two's complement; a layer's also hold unsigned codes."""
        return self.activation_bits + (0 if self.gru else 1)

    @property
    def delta_bits(self) -> int:
        """Of a difference, two's complement: that of any two elements fits."""
        return self.activation_bits + 1

    @property
    def product_bits(self) -> int:
        return self.delta_bits + self.weight_bits

    @property
    def capacity(self) -> int:
        """Events in the FIFO; one enters as the one this far ahead ends."""
        return self.fifo_depth - 1

    @property
    def sum_fraction(self) -> int:
        """Fraction bits of a sum."""
        return self.activation_fraction + self.weight_fraction

    @property
    def reference_bits(self) -> int:
        """Of a word's number in the reference memory."""
        return max(1, (self.reference_words - 1).bit_length())

    @property
    def sigma_bits(self) -> int:
        """Of a word's number in the sigma memory."""
        return max(1, (self.sigma_words - 1).bit_length())

    @property
    def parameter_bits(self) -> int:
        """Of a word's number in the parameter memory."""
        return max(1, (self.parameter_words - 1).bit_length())
