"""A network trained on real digits, run through the RTL: the golden's bits, layer by layer."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.config import SatConfig, load_config
from hwsim.dataflows.gemm import gemm
from hwsim.dataflows.stce import OS, WS
from hwsim.models import digits
from hwsim.models.forward import float32, forward, fp16, int8
from hwsim.models.nm import compress
from hwsim.models.zoo import build
from hwsim.verify import run_products
from hwsim.verify_cases import product

pytestmark = pytest.mark.xdist_group("rtl-digits")


def array(fmt: str) -> SatConfig:
    config = load_config("sat", ["rows=4", "cols=4", f"format={fmt}", "psum_depth=64"])
    assert isinstance(config, SatConfig)
    return config


def layers(name: str, images: int, fmt: str):
    """(layer, A, B, Z as bits) of every product that the golden forward does."""
    x, labels = digits.test_images(name)
    network = build(name, batch=images)
    found = []
    rule = fp16() if fmt == "fp16" else int8()
    logits = forward(
        network, {"image": x[:images]}, rule,
        hook=lambda node, a, b, z: found.append((node.name, a, b, z)),
    )  # fmt: skip
    (out,) = logits.values()
    return found, out.argmax(1), labels[:images]


def as_the_engine_holds_it(layer: str, first: str, b):
    """B dense in the first layer, 2:4 compact in the others."""
    return b if layer == first else compress(b, 2, 4)


def test_one_whole_convolution_in_both_dataflows():
    """conv2 of the CNN, 16 to 32 channels, on 4 images: 64 x 32 x 144, pruned 2:4."""
    design = array("int8")
    found, _, _ = layers("digits_cnn", 4, "int8")
    _, a, b, z = next(entry for entry in found if entry[0] == "conv2")
    assert a.shape == (64, 144)
    compact = compress(b, 2, 4)
    assert (compact.dense() == b).all()  # the trained weights are what the format holds
    results, rtl, simulated = run_products(
        design, [product(design, a, compact, mode) for mode in (OS, WS)]
    )
    for result in results:
        assert (result == z).all()
    assert rtl == simulated


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
@pytest.mark.parametrize("fmt", ["int8", "fp16"])
def test_whole_network_layer_by_layer(name, fmt):
    """All products of the network one after the other, results fed on as the golden does."""
    images = 8
    design = array(fmt)
    found, classes, labels = layers(name, images, fmt)
    first = found[0][0]
    kind = design.number
    products = [
        product(design, a, as_the_engine_holds_it(layer, first, b), i % 2)
        for i, (layer, a, b, _) in enumerate(found)
    ]
    results, rtl, simulated = run_products(design, products)
    for (_, _, _, z), result in zip(found, results, strict=True):
        assert (kind.bits(result) == kind.bits(z)).all()
    assert rtl == simulated
    assert (classes == labels).mean() >= 0.85  # of 8 real images


@pytest.mark.parametrize("name", ["digits_mlp", "digits_cnn"])
def test_the_rtl_itself_classifies_the_images(name):
    """The RTL's own results carry the network on: no golden value is used between layers."""
    images = 8
    design = array("fp16")
    x, labels = digits.test_images(name)
    network = build(name, batch=images)

    def through_rtl(a, b, fmt):
        held = b if (b != 0).mean() > 0.6 else compress(b, 2, 4)
        (z,), rtl, simulated = run_products(design, [product(design, a, held, OS)])
        assert rtl == simulated
        return z

    (got,) = forward(network, {"image": x[:images]}, fp16(through_rtl)).values()
    (want,) = forward(network, {"image": x[:images]}, fp16(gemm)).values()
    assert (got.view(np.uint32) == want.view(np.uint32)).all()
    (plain,) = forward(network, {"image": x[:images]}, float32()).values()
    assert (got.argmax(1) == plain.argmax(1)).all()
    assert (got.argmax(1) == labels[:images]).mean() >= 0.85
