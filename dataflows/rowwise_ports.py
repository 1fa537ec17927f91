"""Ports of the row-wise engine in the order of their gaps, and the depth of the queues at them."""

from __future__ import annotations

__all__ = [
    "A_PTR_REQ",
    "A_PTR_RSP",
    "A_REQ",
    "A_RSP",
    "B_PTR_REQ",
    "B_PTR_RSP",
    "B_REQ",
    "B_RSP",
    "DONE",
    "ELEMENT_BYTES",
    "JOB",
    "POINTER_BYTES",
    "PORTS",
    "PORT_QUEUE",
    "RESULT",
    "SPILL",
]

PORTS = (
    "job",
    "a_ptr_req",
    "a_ptr_rsp",
    "a_req",
    "a_rsp",
    "b_ptr_req",
    "b_ptr_rsp",
    "b_req",
    "b_rsp",
    "z",
    "spill",
    "done",
)
"""Lanes and outputs share a port's gaps, each beginning at its number."""

JOB, A_PTR_REQ, A_PTR_RSP, A_REQ, A_RSP, B_PTR_REQ, B_PTR_RSP = range(7)
B_REQ, B_RSP, RESULT, SPILL, DONE = range(7, 12)

PORT_QUEUE = 2
"""Words of a queue at a port, as in rtl/rowwise_parts.py; a test compares the two."""

POINTER_BYTES, ELEMENT_BYTES = 4, 8
"""Of a row pointer and of a non-zero in memory, as in models/spgemm_jobs.py."""
