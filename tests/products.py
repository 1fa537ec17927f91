"""Counts the products that a network's lowering plans."""

from __future__ import annotations

from collections import Counter

from hwsim.models.lowering import lower
from hwsim.models.network import Network
from hwsim.models.work import Gemm


def planned_products(network: Network) -> Counter[tuple[str, int, int, int]]:
    """How often the lowering has every (node, m, n, k): what a hook of `forward` must see."""
    names = {node.name for node in network.nodes}
    found: Counter[tuple[str, int, int, int]] = Counter()
    for work in lower(network):
        if isinstance(work, Gemm):
            node = work.layer if work.layer in names else work.layer.rpartition(".")[0]
            found[node, work.m, work.n, work.k] += work.count
    return found
