"""Classify handwritten digits on a board, or on its simulation.

    python examples/board_digits.py --port /dev/ttyUSB0          a board with the bitstream of
                                                                 hwsim generate sat --board ulx3s
    python examples/board_digits.py --images 20                  the same top under Verilator
    python examples/board_digits.py --train                      make the network again

Every logit is compared with the golden model's. The images need scikit-learn.
"""

from __future__ import annotations

import argparse
import sys

from hwsim.board import BOARDS, board_config
from hwsim.board_digits import Classified, classify
from hwsim.board_simulation import simulate_board
from hwsim.driver import SerialTransport
from hwsim.errors import UserError
from hwsim.models import digits_net

CLOCKS_PER_BIT = 4
"""Of the simulated line; the board's takes 50."""


def main() -> int:
    parser = argparse.ArgumentParser(description="classify digits on a board or its simulation")
    parser.add_argument("--port", help="serial port; without it the board is simulated")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--board", default="ulx3s")
    parser.add_argument("--train", action="store_true", help="train, prune, quantise and stop")
    given = parser.parse_args()
    if given.train:
        _, accuracies = digits_net.packed()
        for name, value in accuracies.items():
            print(f"{name}: {value:.4f} of the images held out")
        return 0
    pixels, labels = digits_net.images()
    pixels, labels = pixels[: given.images], labels[: given.images]
    config = board_config(given.board)
    found: Classified
    if given.port:
        line = SerialTransport(given.port, BOARDS[given.board].baud)
        found = classify(line, config, pixels, batch=given.batch)
    else:
        print("building the board's top with Verilator, a minute the first time", file=sys.stderr)
        run = simulate_board(
            config,
            "hwsim.board_digits:classify",
            {"config": config, "images": pixels, "batch": given.batch, "timeout_s": 2e-4},
            clocks_per_bit=CLOCKS_PER_BIT,
        )
        found = run.result
        print(f"simulated {run.cycles:,} clock cycles")
    golden = digits_net.infer(pixels)
    same = bool((found.logits == golden).all())
    count = len(pixels)
    print(f"{count} images, {digits_net.accuracy(found.logits, labels):.3f} of them right")
    print(f"every logit equals the golden model's: {'yes' if same else 'NO'}")
    print(f"line: {found.load_bytes:,} bytes to load, {found.run_bytes / count:.0f} an image")
    print(f"array and its DMA: {found.array_cycles / count:.0f} clock cycles an image")
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (UserError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
