"""Amaranth components and tops, Verilog out, and the cocotb benches that drive them."""
