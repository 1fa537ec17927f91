"""The whole board at its UART pins: the host driver classifies real digits, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.board import board_config
from hwsim.board_simulation import simulate_board
from hwsim.models import digits_net

pytestmark = pytest.mark.xdist_group("rtl-board")

BATCH = 10
MEMORY = 16384
TIMEOUT_S = 2e-4
"""Of simulated time: 20,000 clocks, 500 bytes."""


SMALL = ("rows=2", "cols=2", "buffers.input_bytes=1024", "buffers.weight_bytes=1024",
         "buffers.output_bytes=512")  # fmt: skip
"""An array that Verilator compiles quickly."""


def on_board(program: str, arguments: dict, settings: tuple[str, ...] = SMALL):
    arguments = {"config": board_config("ulx3s", settings), "timeout_s": TIMEOUT_S, **arguments}
    return simulate_board(arguments["config"], program, arguments, memory_bytes=MEMORY)


def classified(count: int, settings: tuple[str, ...] = SMALL):
    pixels, labels = digits_net.images()
    run = on_board(
        "hwsim.board_digits:classify",
        {"images": pixels[:count], "batch": BATCH},
        settings,
    )
    return run, digits_net.infer(pixels[:count]), labels[:count]


def test_real_digits_through_the_pins_bit_for_bit():
    run, golden, labels = classified(4)
    found = run.result
    assert (found.logits == golden).all()
    assert (found.logits.argmax(1) == labels).mean() >= 0.75  # of 4 images
    assert found.repeated == 0
    assert run.sent_bytes + run.received_bytes > found.load_bytes + found.run_bytes
    # last layer, 4 x 10 x 32 pruned 2:8: 2 row tiles, 5 column tiles, 8 slots each
    assert found.counters["sat_stce_step"] == 2 * 5 * 8
    assert run.led >> 3 == 0  # no frame was refused, no byte lost


def test_a_disturbed_line_and_a_bad_list_and_right_results():
    run = on_board("board_programs:disturbed", {})
    a, b, first, second, third, said, repeated = run.result
    a, b = a.astype(np.int32), b.astype(np.int32)
    assert (first == a[::-1] @ b).all()
    assert (second == (a.astype(np.int8) + np.int8(1)).astype(np.int32) @ b).all()
    assert (third == a @ b).all()
    assert repeated >= 1
    assert said[0].startswith("the board stopped with error magic at descriptor 0")
    assert said[1].startswith("the board is not idle: reset it")
    assert said[2] == (
        "the board refuses read_register of 4 bytes at 0x2: address or length break its rule"
    )


@pytest.mark.slow
def test_a_hundred_digits():
    run, golden, labels = classified(100, ())
    assert (run.result.logits == golden).all()
    assert digits_net.accuracy(run.result.logits, labels) == digits_net.accuracy(golden, labels)
