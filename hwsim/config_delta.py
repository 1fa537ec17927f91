"""Configuration of the delta engine: the object that is simulated, generated and verified.

The engine computes on change: an encoder turns frames into events, the non-zero differences of
their elements to what was sent before; each event adds its column of weights into sums that are
kept from frame to frame. With `engine: layer` it is a linear or convolutional layer, with
`engine: gru` a layer of gated recurrent units in the manner of EdgeDRNN. docs/delta-engine.md
describes the machine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hwsim.config_base import BusConfig, DramConfig
from hwsim.energy_block import EnergyBlock, Powered
from hwsim.models.delta_shape import DeltaShape

__all__ = ["DeltaConfig", "DeltaEnergy"]


class DeltaEnergy(EnergyBlock):
    """Energy of each kind of event, in picojoules; the totals are counters times these.

    Attributes:
        mac_pj: one multiply-accumulate in the configured widths.
        weight_pj: a byte of weights read from on-chip memory.
        state_pj: a byte of reference, sum or code memory on chip, read or written.
        dram_pj: a byte to or from DRAM.
    """

    mac_pj: Annotated[float, Field(ge=0)]
    weight_pj: Annotated[float, Field(ge=0)]
    state_pj: Annotated[float, Field(ge=0)]
    dram_pj: Annotated[float, Field(ge=0)]


class DeltaConfig(Powered):
    """The delta engine.

    Attributes:
        name: shown in reports.
        engine: `layer` (linear and convolution) or `gru`.
        lanes: multiply-accumulate lanes; a word of weights or of sums has one element a lane.
        clusters: groups of lanes that share a frame's events; output row y of an image belongs to
            cluster y mod clusters, word b of a vector's outputs to cluster b mod clusters. The
            RTL is one cluster.
        chain: engines in a row in the RTL, each layer's codes the next one's frames; a network of
            as many layers then runs whole.
        detector_width: items that the encoder and the non-zero detector take a cycle.
        fifo_depth: an event enters the FIFO once the one `fifo_depth - 1` before it has ended.
        prefetch: requests of weights in flight.
        activation_bits: of an activation; two's complement in a GRU, a code in a layer.
        activation_fraction: fraction bits of a GRU's activations.
        weight_bits, weight_fraction: of a weight, two's complement.
        accumulator_bits: of a sum, two's complement; it saturates.
        table_bits: of the number of an entry of the sigmoid and tanh tables.
        table_range_bits: the tables cover -2**b .. 2**b.
        theta: threshold of the encoder in units of an activation's last bit; None, in a layer
            only, is the quantise rule: every change of a code is an event.
        reference_words: of the reference memory, `detector_width` elements each.
        sigma_words: of the sum memory, `lanes` sums each.
        parameter_words: of the memory of biases and factors, `lanes` channels each.
        coordinate_bits: of a row's or column's number in an image.
        channel_bits: of a channel's number, or an item's in a vector.
        address_bits: of a word's number in the weight memory.
        state_memory: where references, sums and codes live: `chip` or `dram`.
        weight_memory: where weights live.
        clock_hz: clock frequency.
        bus: the buses of the FPGA-ready top.
    """

    kind: Literal["delta"] = "delta"
    name: str
    engine: Literal["layer", "gru"]
    lanes: Annotated[int, Field(ge=1, le=64)]
    clusters: Annotated[int, Field(ge=1, le=256)]
    chain: Annotated[int, Field(ge=1, le=16)]
    detector_width: Annotated[int, Field(ge=1, le=64)]
    fifo_depth: Annotated[int, Field(ge=2, le=1024)]
    prefetch: Annotated[int, Field(ge=4, le=1024)]
    activation_bits: Annotated[int, Field(ge=2, le=16)]
    activation_fraction: Annotated[int, Field(ge=0, le=15)]
    weight_bits: Annotated[int, Field(ge=2, le=16)]
    weight_fraction: Annotated[int, Field(ge=0, le=15)]
    accumulator_bits: Annotated[int, Field(ge=8, le=40)]
    table_bits: Annotated[int, Field(ge=4, le=14)]
    table_range_bits: Annotated[int, Field(ge=1, le=4)]
    theta: Annotated[int, Field(ge=0)] | None
    reference_words: Annotated[int, Field(ge=2, le=2**24)]
    sigma_words: Annotated[int, Field(ge=2, le=2**24)]
    parameter_words: Annotated[int, Field(ge=2, le=2**16)]
    coordinate_bits: Annotated[int, Field(ge=2, le=14)]
    channel_bits: Annotated[int, Field(ge=2, le=24)]
    address_bits: Annotated[int, Field(ge=4, le=32)]
    state_memory: Literal["chip", "dram"]
    weight_memory: Literal["chip", "dram"]
    clock_hz: Annotated[float, Field(gt=0)]
    dram: DramConfig
    bus: BusConfig = BusConfig()
    energy: DeltaEnergy

    @model_validator(mode="after")
    def _check_sizes(self) -> DeltaConfig:
        if self.chain > 1 and (self.engine == "gru" or self.lanes != self.detector_width):
            raise ValueError(
                "a chain must be of layer engines with lanes equal to detector_width, but got "
                f"chain={self.chain}, engine={self.engine}, lanes={self.lanes}, "
                f"detector_width={self.detector_width}"
            )
        if self.engine == "gru":
            if self.theta is None:
                raise ValueError("theta must be a number for a gru, but got none")
            if self.lanes % self.detector_width:
                raise ValueError(
                    "detector_width must divide the lanes of a gru, but got "
                    f"detector_width={self.detector_width}, lanes={self.lanes}"
                )
            if self.clusters != 1:
                raise ValueError(f"clusters must be 1 for a gru, but got {self.clusters}")
            fraction = self.activation_fraction + self.weight_fraction
            below = self.table_bits - 1 - self.table_range_bits
            if not 0 <= below <= fraction:
                raise ValueError(
                    "the tables' step must be a power of two from a sum's last bit to 1, but got "
                    f"table_bits={self.table_bits} and table_range_bits={self.table_range_bits}"
                )
        least = self.activation_bits + self.weight_bits
        if self.accumulator_bits < least:
            raise ValueError(
                f"accumulator_bits must be at least activation_bits + weight_bits = {least}, "
                f"but got {self.accumulator_bits}"
            )
        return self

    @property
    def shape(self) -> DeltaShape:
        """One cluster as its simulator and its RTL take it."""
        names = set(DeltaShape.__dataclass_fields__) - {"gru"}
        return DeltaShape(gru=self.engine == "gru", **{name: getattr(self, name) for name in names})

    @property
    def peak_macs_per_s(self) -> float:
        """Multiply-accumulates a second at full use."""
        return self.clusters * self.lanes * self.clock_hz
