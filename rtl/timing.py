"""The path that limits the clock, read from nextpnr's report."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hwsim.rtl.harness import CLOCK

__all__ = ["CriticalPath", "arrivals", "slowest_path"]

_REGISTER = re.compile(r"_(TRELLIS_FF|DP16KD|MULT18X18D|TRELLIS_DPR16X4|SB_[A-Z0-9]+)_.*$")
"""What Yosys adds to a net's name when it names the cell that drives it."""

_BIT = re.compile(r"\[\d+\]$")


@dataclass(frozen=True, kw_only=True)
class CriticalPath:
    """A path between two registers.

    Attributes:
        start, end: the registers' names, as the RTL has them where it names them.
        delay_ns: sum of its parts, setup included.
        logic_ns, routing_ns: through cells (clock to output and setup included), along wires.
        levels: cells passed between the registers.
    """

    start: str
    end: str
    delay_ns: float
    logic_ns: float
    routing_ns: float
    levels: int

    @property
    def fmax_hz(self) -> float:
        return 1e9 / self.delay_ns


def slowest_path(report: Mapping[str, Any]) -> CriticalPath:
    """The slowest register-to-register path of a report of `nextpnr --report`.

    Raises:
        ValueError: the report has no path from the clock to the clock.
    """
    clocked = [
        path["path"]
        for path in report["critical_paths"]
        if _is_clock(path["from"]) and _is_clock(path["to"])
    ]
    if not clocked:
        raise ValueError("the report holds no path between two registers")
    segments = max(clocked, key=lambda parts: sum(part["delay"] for part in parts))
    routing = sum(part["delay"] for part in segments if part["type"] == "routing")
    total = sum(part["delay"] for part in segments)
    return CriticalPath(
        start=_register(segments[0]["from"]["cell"]),
        end=_register(segments[-1]["to"]["cell"]),
        delay_ns=total,
        logic_ns=total - routing,
        routing_ns=routing,
        levels=sum(part["type"] == "logic" for part in segments),
    )


def arrivals(report: Mapping[str, Any]) -> dict[str, float]:
    """When the last bit of each register arrives, in ns from the clock edge, latest first.

    Args:
        report: of `nextpnr --report --detailed-timing-report`.

    Returns:
        Nanoseconds, setup left out, by the register's name without its bit; empty if the report
        was made without the detailed timing.
    """
    latest: dict[str, float] = {}
    for net in report.get("detailed_net_timings", []):
        for end in net["endpoints"]:
            if _is_clock(net["event"]) and _is_clock(end["event"]):
                name = _BIT.sub("", _register(end["cell"]))
                latest[name] = max(latest.get(name, 0.0), end["delay"][-1])
    return dict(sorted(latest.items(), key=lambda item: -item[1]))


def _is_clock(event: str) -> bool:
    return event.startswith("posedge") and CLOCK in event


def _register(cell: str) -> str:
    return _REGISTER.sub("", cell)
