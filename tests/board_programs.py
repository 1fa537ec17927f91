"""Host programs that tests run against a simulated board, in the simulator's process."""

from __future__ import annotations

import numpy as np

from hwsim.board import board_registers
from hwsim.board_array import ArrayOnBoard
from hwsim.dataflows.stce import OS, WS
from hwsim.driver import Board, BoardLink
from hwsim.errors import UserError
from hwsim.models.board_frames import Operation, request
from hwsim.sat_layers import Layer


def disturbed(transport, config, timeout_s):
    """A host program whose line is disturbed: what comes through all the same."""
    link = BoardLink(transport, timeout_s=timeout_s)
    board = Board(link, board_registers(config))
    array = ArrayOnBoard(board, config)
    rng = np.random.default_rng(4)
    a = rng.integers(-128, 128, (5, 19)).astype(np.int8)
    b = rng.integers(-128, 128, (19, 6)).astype(np.int8)
    array.load([Layer(name="os", a=a, b=b, mode=OS), Layer(name="ws", a=a, b=b, mode=WS)])
    transport.write(bytes(rng.integers(0, 256, 30, np.uint8)))  # garbage
    first = array.product("os", a[::-1])
    # the head of a write, which would swallow the next requests
    transport.write(request(1, Operation.WRITE_MEMORY, 12288, 64))
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
