"""Writes a design's files: Verilog, constraints, register map, lint waivers, manifest."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from hwsim.config import Accelerator, dump_config
from hwsim.files import make_folder, write_text

__all__ = ["manifest", "write_design"]


def write_design(config: Accelerator, folder: str | Path, *, training: bool = False) -> list[Path]:
    """Write a core and its FPGA-ready top, or the training engine, into `folder`.

    The core is `{kind}_top.v`, whose ports are streams; the top is `{kind}_axi.v`, which
    instantiates it. Registers and descriptors come as Markdown, C header, Python module and
    SystemRDL, all from one description. The training engine has no such top.

    Returns:
        The files.

    Raises:
        UserError: there is no RTL for this kind, or the folder cannot be written.
    """
    from hwsim.rtl.verilog import generate_verilog, top_name

    verilog = generate_verilog(config, training=training)
    top = top_name(config, training=training)
    texts = {
        f"{top}.v": verilog,
        f"{top}.sdc": _constraints(config),
        "lint.vlt": (resources.files("hwsim.rtl") / "lint.vlt").read_text(encoding="utf-8"),
        "config.yaml": dump_config(config),
    }
    about = manifest(config, verilog, training=training)
    if not training:
        from hwsim.design_axi import axi_files

        files, about["axi"] = axi_files(config, top)
        texts |= files
    texts["manifest.json"] = json.dumps(about, indent=2) + "\n"
    path = make_folder(folder)
    for name, text in texts.items():
        write_text(path / name, text)
    return [path / name for name in texts]


def manifest(config: Accelerator, verilog: str, *, training: bool = False) -> dict[str, Any]:
    """What a build script needs to know of a design: version, configuration, ports, hash."""
    import hwsim
    from hwsim.rtl.verilog import ports, top_name

    return {
        "version": hwsim.__version__,
        "top": top_name(config, training=training),
        "clock": {"port": "clk", "hz": config.clock_hz},
        "reset": {"port": "rst", "active": "high", "synchronous": True},
        "ports": ports(config, training=training),
        "sha256": hashlib.sha256(verilog.encode()).hexdigest(),
        "config": config.model_dump(),
    }


def _constraints(config: Accelerator) -> str:
    period = 1e9 / config.clock_hz
    return (
        f"# {config.name}: the configured clock of {config.clock_hz / 1e6:g} MHz, a goal for the\n"
        "# tools and not a measured frequency.\n"
        f"create_clock -name clk -period {period:.3f} [get_ports clk]\n"
    )
