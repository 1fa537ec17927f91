"""Classifies handwritten digits on a board: the host program of `hwsim.models.digits_net`.

`classify` takes any transport, a serial port or the simulated UART. The board computes the products
of all layers; bias, ReLU and requantisation between them are the host's, as the model says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsim.board import board_registers
from hwsim.board_array import ArrayOnBoard
from hwsim.config import SatConfig
from hwsim.dataflows.stce import OS
from hwsim.driver import Board, BoardLink, Transport
from hwsim.errors import UserError
from hwsim.models import digits_net
from hwsim.sat_layers import Layer

__all__ = ["Classified", "classify"]


@dataclass(frozen=True, kw_only=True)
class Classified:
    """What the board computed.

    Attributes:
        logits: int32 [images, 10].
        load_bytes: on the line, both directions, until weights and descriptors were loaded.
        run_bytes: for all images.
        load_seconds, run_seconds: by the line's clock.
        array_cycles: clock cycles from start to end of all the lists that were run.
        counters: of the last list.
        repeated: requests that were sent again.
    """

    logits: NDArray[np.int32]
    load_bytes: int
    run_bytes: int
    load_seconds: float
    run_seconds: float
    array_cycles: int
    counters: dict[str, int]
    repeated: int


def classify(
    transport: Transport,
    config: SatConfig,
    images: NDArray[np.int8],
    *,
    batch: int = 20,
    timeout_s: float = 0.5,
) -> Classified:
    """Logits of images by a board.

    Args:
        transport: the line to it.
        config: the design on it, int8.
        images: int8 [n, 64], pixels 0..16.
        batch: images that go through the network together.
        timeout_s: how long the board may be silent.

    Raises:
        UserError: the design is not int8, the batch does not fit its memory, or the board fails.
    """
    if config.format != "int8":
        raise UserError(f"format: the digits are int8, but the board holds {config.format}")
    if batch < 1:
        raise UserError(f"batch must be at least 1, but got {batch}")
    link = BoardLink(transport, timeout_s=timeout_s)
    array = ArrayOnBoard(Board(link, board_registers(config)), config)
    began = transport.now()
    batch = min(batch, len(images))
    array.load(
        [
            Layer(
                name=layer.name,
                a=np.zeros((batch, layer.weights.k), np.int8),
                b=layer.weights,
                mode=OS,
            )
            for layer in digits_net.shipped()
        ]
    )
    loaded, load_bytes = transport.now(), link.sent_bytes + link.received_bytes
    logits = []
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        padded = np.zeros((batch, images.shape[1]), np.int8)
        padded[: len(part)] = part
        found = digits_net.infer(padded, lambda layer, a: array.product(layer.name, a))
        logits.append(found[: len(part)])
    return Classified(
        logits=np.concatenate(logits),
        load_bytes=load_bytes,
        run_bytes=link.sent_bytes + link.received_bytes - load_bytes,
        load_seconds=loaded - began,
        run_seconds=transport.now() - loaded,
        array_cycles=array.array_cycles,
        counters=array.board.counters(),
        repeated=link.repeated,
    )
