"""Train on handwritten digits in the arithmetic of the hardware, method by method.

python examples/train_exact.py [--network mlp|cnn] [--methods dense,bdwp] [--pattern 2:8]
                               [--epochs 8] [--seed 1] [--golden]

Every product, mask and update has the bits that the RTL computes; only the loss is the host's.
Needs scikit-learn for the images. Prints, for every method and epoch, the mean loss, the accuracy
on 360 held-out images, and the rate: millions of multiply-accumulates that the array would issue a
second of processor time, that is, of one core. `--golden` runs the plain reference instead of the
compiled step: the same numbers, slower.
"""

from __future__ import annotations

import argparse
import time

from hwsim.dataflows.exact_train import FAST
from hwsim.models.exact_digits import NETWORKS, Epoch, train_digits
from hwsim.models.exact_kernels import GOLDEN
from hwsim.models.exact_train import Recipe
from hwsim.models.nm import parse_pattern
from hwsim.models.pruning import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="cnn")
    parser.add_argument("--methods", default=",".join(METHODS), help="separated by commas")
    parser.add_argument("--pattern", default="2:8", help="N:M of the pruned operands")
    parser.add_argument("--nested", action="store_true", help="backward mask within the forward")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--golden", action="store_true", help="the plain reference, slower")
    given = parser.parse_args()
    kernels = GOLDEN if given.golden else FAST
    try:
        recipes = [
            Recipe(method=method, pattern=parse_pattern(given.pattern), nested=given.nested)
            for method in given.methods.split(",")
        ]
        # compile before the clock runs
        train_digits(given.network, recipes[0], epochs=1, kernels=kernels)
        for recipe in recipes:
            _train(given.network, recipe, given.epochs, given.seed, kernels)
    except ValueError as error:
        parser.error(str(error))


def _train(network: str, recipe: Recipe, epochs: int, seed: int, kernels) -> None:
    print(f"{network}, {recipe.method}, {recipe.pattern}, seed {seed}")
    print(f"{'epoch':>7}{'loss':>10}{'accuracy':>10}{'MMAC/s/core':>13}")
    before = time.process_time()

    def show(epoch: Epoch) -> None:
        nonlocal before
        now = time.process_time()
        rate = epoch.macs / (now - before) / 1e6
        print(f"{epoch.number:>7}{epoch.loss:>10.4f}{epoch.accuracy:>10.4f}{rate:>13,.0f}")
        before = now

    train_digits(network, recipe, epochs=epochs, seed=seed, kernels=kernels, progress=show)


if __name__ == "__main__":
    main()
