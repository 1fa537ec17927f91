"""The whole board at its UART pins: the host driver classifies real digits, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim.board import board_config, board_registers
from hwsim.board_array import ArrayOnBoard
from hwsim.board_simulation import simulate_board
from hwsim.dataflows.stce import OS, WS
from hwsim.driver import Board, BoardLink
from hwsim.errors import UserError
from hwsim.models import digits_net
from hwsim.models.board_frames import Operation, request
from hwsim.sat_layers import Layer

pytestmark = pytest.mark.xdist_group("rtl-board")

BATCH = 10
MEMORY = 16384
TIMEOUT_S = 2e-4
"""Of simulated time: 20,000 clocks, 500 bytes."""


def on_board(program: str, arguments: dict, rate_error: float = 0.0):
    arguments = {"config": board_config("ulx3s"), **arguments}
    return simulate_board(arguments["config"], program, arguments, memory_bytes=MEMORY,
                          rate_error=rate_error)  # fmt: skip


def classified(count: int):
    pixels, labels = digits_net.images()
    run = on_board(
        "hwsim.board_digits:classify",
        {"images": pixels[:count], "batch": min(count, BATCH), "timeout_s": TIMEOUT_S},
    )
    return run, digits_net.infer(pixels[:count]), labels[:count]


def test_real_digits_through_the_pins_bit_for_bit():
    run, golden, labels = classified(4)
    found = run.result
    assert (found.logits == golden).all()
    assert (found.logits.argmax(1) == labels).mean() >= 0.75  # of 4 images
    assert found.repeated == 0
    assert run.sent_bytes + run.received_bytes > found.load_bytes + found.run_bytes
    # what the array did in the last layer, 4 x 10 x 32 pruned 2:8: 3 column tiles of 8 slots
    assert found.counters["sat_stce_step"] == 3 * 8
    assert run.led >> 3 == 0  # no frame was refused, no byte lost


def disturbed(transport, config):
    """A host program whose line is disturbed: what comes through all the same."""
    link = BoardLink(transport, timeout_s=TIMEOUT_S)
    board = Board(link, board_registers(config))
    array = ArrayOnBoard(board, config)
    rng = np.random.default_rng(4)
    a = rng.integers(-128, 128, (5, 19)).astype(np.int8)
    b = rng.integers(-128, 128, (19, 6)).astype(np.int8)
    array.load([Layer(name="os", a=a, b=b, mode=OS), Layer(name="ws", a=a, b=b, mode=WS)])
    transport.write(bytes(rng.integers(0, 256, 30, np.uint8)))  # garbage
    first = array.product("os", a[::-1])
    # the head of a write, which would swallow the next requests
    transport.write(request(1, Operation.WRITE_MEMORY, 4096, 64))
    second = array.product("ws", a + np.int8(1))
    said = []
    for act in (
        lambda: board.run(list_address=8192, count=1),
        lambda: array.product("os", a),
        lambda: link.read_register(2),
    ):
        try:
            act()
        except UserError as error:
            said.append(str(error))
    board.reset()
    return a, b, first, second, array.product("os", a), said, link.repeated


def test_a_disturbed_line_and_a_bad_list_and_right_results():
    run = on_board(f"{__name__.rsplit('.', 1)[-1]}:disturbed", {}, rate_error=0.0)
    a, b, first, second, third, said, repeated = run.result
    a, b = a.astype(np.int32), b.astype(np.int32)
    assert (first == a[::-1] @ b).all()
    assert (second == (a.astype(np.int8) + np.int8(1)).astype(np.int32) @ b).all()
    assert (third == a @ b).all()
    assert repeated >= 1
    assert said[0].startswith("the board stopped with error magic at descriptor 0")
    assert "the board stopped with error" in said[1] or "not done within" in said[1]
    assert said[2] == (
        "the board refuses read_register of 4 bytes at 0x2: address or length break its rule"
    )


@pytest.mark.slow
def test_a_hundred_digits():
    run, golden, labels = classified(100)
    assert (run.result.logits == golden).all()
    assert digits_net.accuracy(run.result.logits, labels) == digits_net.accuracy(golden, labels)
