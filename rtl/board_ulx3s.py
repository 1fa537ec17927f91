"""The ULX3S-85F board: pins, clock and reset around `hwsim.rtl.board_top`.

Sources: pins, voltages and drive of `amaranth-boards` 0.1 (`amaranth_boards/ulx3s.py`), which a
test compares with the table here; the PLL's limits and attributes from Lattice's ECP5 sysCLOCK
guide (FPGA-TN-02200) and Project Trellis' `ecppll`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import UserError
from hwsim.rtl.board_top import BOARD_MODULE, LEDS

__all__ = [
    "CLOCK_HZ",
    "DEVICE",
    "PINS",
    "TOP_MODULE",
    "Pin",
    "Pll",
    "constraints",
    "pll",
    "wrapper",
]

TOP_MODULE = "ulx3s"
"""Module of the FPGA's top."""

CLOCK_HZ = 25_000_000
"""Of the board's oscillator."""

DEVICE = ("--85k", "--package", "CABGA381", "--speed", "6")
"""Options of nextpnr for the LFE5U-85F-6BG381C."""

_PHASE_HZ = (3.125e6, 400e6)  # at the phase detector
_VCO_HZ = (400e6, 800e6)
_MOST_OUTPUT_HZ = 400e6
_MOST_DIVIDER = 128


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin of the FPGA.

    Attributes:
        port: of the top module.
        site: ball of the package.
        attributes: of its buffer, beside the 3.3 V standard.
    """

    port: str
    site: str
    attributes: tuple[str, ...] = ()


_LED_SITES = ("B2", "C2", "C1", "D2", "D1", "E2", "E1", "H3")

PINS = (
    Pin(port="clk25", site="G2"),
    Pin(port="uart_rx", site="M1", attributes=("PULLMODE=UP",)),
    Pin(port="uart_tx", site="L4", attributes=("DRIVE=4",)),
    Pin(port="button", site="R1", attributes=("PULLMODE=DOWN",)),
    # The ESP32 on the board resets the FPGA unless this is held high.
    Pin(port="esp32_gpio0", site="L2", attributes=("PULLMODE=UP",)),
    *(
        Pin(port=f"led[{i}]", site=site, attributes=("DRIVE=4",))
        for i, site in enumerate(_LED_SITES[:LEDS])
    ),
)
"""All that the top uses. `uart_rx` is what the USB bridge sends."""


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Dividers of an EHXPLLL whose feedback is its output.

    Attributes:
        input_divider, feedback_divider, output_divider: CLKI_DIV, CLKFB_DIV, CLKOP_DIV.
    """

    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def hz(self) -> float:
        """Its output."""
        return CLOCK_HZ * self.feedback_divider / self.input_divider


def pll(clock_hz: float) -> Pll:
    """Dividers that make `clock_hz` exactly, the oscillator near the middle of its range.

    Raises:
        UserError: none do.
    """
    middle = sum(_VCO_HZ) / 2
    for divider in range(1, int(CLOCK_HZ // _PHASE_HZ[0]) + 1):
        feedback = clock_hz * divider / CLOCK_HZ
        if feedback != int(feedback) or not 1 <= feedback <= _MOST_DIVIDER:
            continue
        if clock_hz > _MOST_OUTPUT_HZ:
            break
        output = round(middle / clock_hz)
        if 1 <= output <= _MOST_DIVIDER and _VCO_HZ[0] <= output * clock_hz <= _VCO_HZ[1]:
            return Pll(input_divider=divider, feedback_divider=int(feedback), output_divider=output)
    raise UserError(
        f"clock_hz: the board's PLL makes 25 MHz times n / d, d <= 8, from 5 to 400 MHz, but got "
        f"{clock_hz / 1e6:g} MHz"
    )


def constraints() -> str:
    """The LPF: sites, buffers, the oscillator's period, how the bitstream is loaded."""
    lines = [
        "# ULX3S-85F: pins of the design's top.",
        "BLOCK RESETPATHS;",
        "BLOCK ASYNCPATHS;",
        "SYSCONFIG CONFIG_IOVOLTAGE=3.3 COMPRESS_CONFIG=ON MCCLK_FREQ=62 MASTER_SPI_PORT=ENABLE "
        "SLAVE_SPI_PORT=DISABLE SLAVE_PARALLEL_PORT=DISABLE;",
    ]
    for pin in PINS:
        buffer = " ".join(["IO_TYPE=LVCMOS33", *pin.attributes])
        lines.append(f'LOCATE COMP "{pin.port}" SITE "{pin.site}";')
        lines.append(f'IOBUF PORT "{pin.port}" {buffer};')
    lines.append(f'FREQUENCY PORT "clk25" {CLOCK_HZ / 1e6:g} MHZ;')
    return "\n".join(lines) + "\n"


def wrapper(clock_hz: float) -> str:
    """Verilog of the FPGA's top: PLL, reset and the board module.

    Reset is released 2^16 cycles after the PLL has locked and while the button is up.

    Raises:
        UserError: the PLL cannot make this clock.
    """
    p = pll(clock_hz)
    return f"""\
// ULX3S: 25 MHz to {clock_hz / 1e6:g} MHz, reset, {BOARD_MODULE}.
module {TOP_MODULE} (clk25, uart_rx, uart_tx, button, esp32_gpio0, led);
  input clk25;
  input uart_rx;
  output uart_tx;
  input button;
  output esp32_gpio0;
  output [{LEDS - 1}:0] led;

  wire clk;
  wire locked;
  reg [15:0] hold = 16'd0;
  reg [1:0] pressed = 2'b11;
  reg rst = 1'b1;

  assign esp32_gpio0 = 1'b1;

  (* FREQUENCY_PIN_CLKI = "{CLOCK_HZ / 1e6:g}" *)
  (* FREQUENCY_PIN_CLKOP = "{clock_hz / 1e6:g}" *)
  (* ICP_CURRENT = "12" *) (* LPF_RESISTOR = "8" *)
  (* MFG_ENABLE_FILTEROPAMP = "1" *) (* MFG_GMCREF_SEL = "2" *)
  EHXPLLL #(
    .PLLRST_ENA("DISABLED"),
    .INTFB_WAKE("DISABLED"),
    .STDBY_ENABLE("DISABLED"),
    .DPHASE_SOURCE("DISABLED"),
    .OUTDIVIDER_MUXA("DIVA"),
    .OUTDIVIDER_MUXB("DIVB"),
    .OUTDIVIDER_MUXC("DIVC"),
    .OUTDIVIDER_MUXD("DIVD"),
    .CLKI_DIV({p.input_divider}),
    .CLKOP_ENABLE("ENABLED"),
    .CLKOP_DIV({p.output_divider}),
    .CLKOP_CPHASE({p.output_divider - 1}),
    .CLKOP_FPHASE(0),
    .FEEDBK_PATH("CLKOP"),
    .CLKFB_DIV({p.feedback_divider})
  ) pll (
    .RST(1'b0), .STDBY(1'b0), .CLKI(clk25), .CLKOP(clk), .CLKFB(clk), .CLKINTFB(),
    .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b0), .PHASESTEP(1'b0),
    .PHASELOADREG(1'b0), .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0), .LOCK(locked)
  );

  always @(posedge clk) begin
    pressed <= {{pressed[0], button}};
    rst <= ~&hold | pressed[1];
  end
  always @(posedge clk or negedge locked)
    if (!locked) hold <= 16'd0;
    else if (~&hold) hold <= hold + 16'd1;

  {BOARD_MODULE} board (.clk(clk), .rst(rst), .rx(uart_rx), .tx(uart_tx), .led(led));
endmodule
"""
