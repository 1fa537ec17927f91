"""Three consecutive training steps on real digits: every product through the array's RTL.

The golden's trace feeds the array with the very operands of the step, dense and compact, in both
dataflows; sums leave with the golden's bits, in the simulator's number of cycles.
"""

from __future__ import annotations

import pytest
from trace_streams import trace_streams

from hwsim.config import SatConfig, load_config
from hwsim.dataflows.exact_train import FAST
from hwsim.dataflows.stce import OS, WS
from hwsim.models.digits import digits_data
from hwsim.models.exact_digits import NETWORKS
from hwsim.models.exact_train import Recipe, Trace, initial_state, train_step
from hwsim.models.formats import FP16
from hwsim.models.nm import NMPattern
from hwsim.verify import run_products
from hwsim.verify_cases import Product

pytestmark = [pytest.mark.xdist_group("rtl-training"), pytest.mark.slow]

DESIGN = load_config(
    "sat",
    ["rows=4", "cols=4", "group=8", "psum_depth=64", "interleave=2", "adder_latency=2",
     "multiplier_latency=1"],
)  # fmt: skip


@pytest.mark.parametrize("method", ["bdwp", "sdgp"])
@pytest.mark.parametrize("name", NETWORKS)
def test_three_steps(name, method):
    assert isinstance(DESIGN, SatConfig)
    network, recipe = NETWORKS[name], Recipe(method=method, pattern=NMPattern(2, 8))
    states = initial_state(network, recipe, 3, FAST)
    images, labels = digits_data()
    trace = Trace()
    for step in range(3):
        pick = slice(2 * step, 2 * step + 2)
        result = train_step(network, states, images[pick], labels[pick], recipe, FAST, trace)
        states = result.states
    runs = trace_streams(trace.products, DESIGN)
    products = [Product(a=r.product.a, b=r.product.b, streams=r.streams) for r in runs]
    found, rtl, simulated = run_products(DESIGN, products)
    for run, z in zip(runs, found, strict=True):
        assert (FP16.bits(z) == FP16.bits(run.product.z)).all(), (run.product.layer, run.mode)
    assert rtl == simulated
    assert {r.product.stage for r in runs} == {"FF", "BP", "WU"}
    assert {r.mode for r in runs} == {OS, WS}
