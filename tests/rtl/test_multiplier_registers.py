"""Flip-flops that move into multipliers: the same words in the same cycles, fewer cells."""

import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsim.rtl.multiplier_registers import pack_multiplier_registers

BITS = 4
"""Of an operand; the pins above repeat its sign, as Yosys leaves them."""

CLOCK, ENABLES = 2, (3, 4)


def flip_flop(d, q, enable="1", **changes):
    given_ = {"CEMUX": "CE" if enable != "1" else "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR"}
    given_ |= {"REGSET": "RESET"} | {k: v for k, v in changes.items() if k != "LSR"}
    wires = {"CLK": [CLOCK], "DI": [d], "Q": [q], "LSR": [changes.get("LSR", "0")]}
    directions = {"CLK": "input", "DI": "input", "Q": "output", "LSR": "input"}
    if enable != "1":
        wires["CE"], directions["CE"] = [enable], "input"
    return {
        "type": "TRELLIS_FF",
        "parameters": given_,
        "connections": wires,
        "port_directions": directions,
    }


def netlist(enables=("1", "1", "1"), extra=(), operand=None, product=None):
    """Operands a and b, flip-flops, a multiplier, flip-flops, the port p."""
    a, b = [10 + i for i in range(BITS)], [20 + i for i in range(BITS)]
    registered_a, registered_b = [30 + i for i in range(BITS)], [40 + i for i in range(BITS)]
    raw, out = [100 + i for i in range(36)], [200 + i for i in range(2 * BITS)]
    cells = {}
    for i in range(BITS):
        cells[f"a{i}"] = flip_flop(a[i], registered_a[i], enables[0], **(operand or {}))
        cells[f"b{i}"] = flip_flop(b[i], registered_b[i], enables[1])
    for i in range(2 * BITS):
        cells[f"p{i}"] = flip_flop(raw[i], out[i], enables[2], **(product or {}))
    wires = {f"A{i}": [registered_a[min(i, BITS - 1)]] for i in range(18)}
    wires |= {f"B{i}": [registered_b[min(i, BITS - 1)]] for i in range(18)}
    wires |= {f"P{i}": [raw[i]] for i in range(36)} | {"SIGNEDA": ["1"], "SIGNEDB": ["1"]}
    cells["mul"] = {
        "type": "MULT18X18D",
        "parameters": {},
        "connections": wires,
        "port_directions": {k: "output" if k[0] == "P" else "input" for k in wires},
    }
    ports = {
        "a": {"direction": "input", "bits": a},
        "b": {"direction": "input", "bits": b},
        "p": {"direction": "output", "bits": [*out, *extra]},
    }
    return {"ports": ports, "cells": cells}


def run(module, steps):
    """Outputs of the port `p` in every step, from a reading of the cells that knows no packing."""
    cells = module["cells"].values()
    flip_flops = [c for c in cells if c["type"] == "TRELLIS_FF"]
    multipliers = [c for c in cells if c["type"] == "MULT18X18D"]
    nets = {"0": 0, "1": 1, "x": 0}
    kept = {id(c): dict.fromkeys(("INPUTA", "INPUTB", "OUTPUT"), 0) for c in multipliers}
    nets |= {c["connections"]["Q"][0]: 0 for c in flip_flops}
    seen = []
    for word_a, word_b, *enables in steps:
        for i in range(BITS):
            nets[module["ports"]["a"]["bits"][i]] = word_a >> i & 1
            nets[module["ports"]["b"]["bits"][i]] = word_b >> i & 1
        nets |= dict(zip(ENABLES, enables, strict=True))
        now = {}
        for c in multipliers:
            wires, chosen, held = c["connections"], c["parameters"], kept[id(c)]

            def stage(which, value, chosen=chosen, held=held):
                return held[which] if chosen.get(f"REG_{which}_CLK", "NONE") != "NONE" else value

            def signed(side, wires=wires, nets=nets):
                bits = sum(nets[wires[f"{side}{i}"][0]] << i for i in range(18))
                return bits - (bits >> 17 << 18)

            a, b = signed("A"), signed("B")
            product = stage("INPUTA", a) * stage("INPUTB", b)
            now[id(c)] = {"INPUTA": a, "INPUTB": b, "OUTPUT": product}
            shown = stage("OUTPUT", product)
            nets |= {wires[f"P{i}"][0]: shown >> i & 1 for i in range(36)}
        seen.append([nets[bit] for bit in module["ports"]["p"]["bits"]])
        for c in multipliers:
            for which in kept[id(c)]:
                if c["parameters"].get(f"REG_{which}_CLK", "NONE") != "NONE":
                    pin = c["parameters"][f"REG_{which}_CE"]
                    assert c["port_directions"][pin] == "input"
                    if nets[c["connections"][pin][0]]:
                        kept[id(c)][which] = now[id(c)][which]
        after = {}
        for c in flip_flops:
            wires = c["connections"]
            if nets[wires.get("CE", ["1"])[0]]:
                after[wires["Q"][0]] = nets[wires["DI"][0]]
        nets |= after
    return seen


def count(module):
    return sum(c["type"] == "TRELLIS_FF" for c in module["cells"].values())


@settings(max_examples=60, deadline=None)
@given(
    enables=st.tuples(*[st.sampled_from(["1", *ENABLES])] * 3),
    shared=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_words_and_cycles_stay(enables, shared, seed):
    # a flip-flop that the outside reads too keeps standing
    module = netlist(enables, extra=(30, 31) if shared else ())
    packed = copy.deepcopy(module)
    gone = pack_multiplier_registers(packed)
    assert gone == count(module) - count(packed) == 4 * BITS - (2 if shared else 0)
    rng = random.Random(seed)
    steps = [
        (rng.randrange(16), rng.randrange(16), rng.randrange(2), rng.randrange(2))
        for _ in range(40)
    ]
    assert run(packed, steps) == run(module, steps)


@pytest.mark.parametrize(
    "change",
    [{"LSR": 5}, {"REGSET": "SET"}, {"CLKMUX": "INV"}, {"CEMUX": "INV"}],
    ids=["reset", "starts at 1", "falling edge", "inverted enable"],
)
def test_what_a_multiplier_has_no_register_for_stays(change):
    for side in ("operand", "product"):
        module = netlist((3, 3, 3), **{side: change})
        before = count(module)
        assert pack_multiplier_registers(module) == 2 * BITS  # the other side's
        assert count(module) == before - 2 * BITS


def test_a_product_that_others_read_stays():
    module = netlist(extra=(101,))
    assert pack_multiplier_registers(module) == 2 * BITS
    assert "REG_OUTPUT_CLK" not in module["cells"]["mul"]["parameters"]


def test_both_operands_or_none():
    module = netlist()
    for i in range(BITS):
        del module["cells"][f"b{i}"]
        module["ports"]["b"]["bits"][i] = 40 + i
    assert pack_multiplier_registers(module) == 2 * BITS  # the product's
    assert "REG_INPUTA_CLK" not in module["cells"]["mul"]["parameters"]


def test_operands_whose_sign_bit_changes_stay_outside():
    module = netlist()
    module["cells"]["mul"]["connections"]["SIGNEDA"] = [5]
    assert pack_multiplier_registers(module) == 2 * BITS  # the product's
    assert "REG_INPUTA_CLK" not in module["cells"]["mul"]["parameters"]


def test_a_constant_one_in_an_operand_stays_outside():
    module = netlist()
    module["cells"]["mul"]["connections"]["A0"] = ["1"]  # a register would start at 0
    assert pack_multiplier_registers(module) == 2 * BITS


def test_flip_flops_that_hold_one_bit_twice_become_one_register():
    module = netlist()
    module["cells"]["twin"] = flip_flop(100, 300)
    module["ports"]["p"]["bits"].append(300)
    packed = copy.deepcopy(module)
    assert pack_multiplier_registers(packed) == 4 * BITS + 1
    steps = [(i * 7 % 16, i * 5 % 16, 1, 1) for i in range(20)]
    assert run(packed, steps) == run(module, steps)
