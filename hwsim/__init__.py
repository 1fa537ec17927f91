"""hwsim: simulate a sparse accelerator, generate its Verilog, prove them equal, sweep the space.

Public names load on first use, so `import hwsim` costs nothing. No module has the name of
a public function: loading it would put it in the function's place.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "Result": "hwsim.result",
    "generate": "hwsim.api",
    "load_config": "hwsim.config",
    "simulate": "hwsim.api",
    "sweep": "hwsim.api",
}

__all__ = ["Result", "__version__", "generate", "load_config", "simulate", "sweep"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hwsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
