"""Small networks for training studies in PyTorch: a CNN of six convolutions and a small ViT.

Channel counts are multiples of 16, so that 2:16 groups exist along input and output channels of
every pruned layer. Needs the extra `train`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CNN_PLAN", "TinyViT", "cnn"]

CNN_PLAN = ((32, 2), (32, 2), (64, 2), (64, 1), (64, 1), (64, 1))
"""Filters and stride of each 3x3 convolution; not from a paper, chosen to fit CPU training."""


def cnn(classes: int = 10, plan: tuple[tuple[int, int], ...] = CNN_PLAN) -> nn.Sequential:
    """3x3 convolutions with batch norm and ReLU, global average pooling, one linear layer.

    Takes [n, 1, side, side], returns [n, classes]. Weights are drawn from torch's generator.
    """
    layers: list[nn.Module] = []
    channels = 1
    for filters, stride in plan:
        layers += [
            nn.Conv2d(channels, filters, 3, stride, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
        ]
        channels = filters
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    network: Any = nn.Sequential(*layers)
    for layer in network:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    # oneDNN's convolutions run faster here on channels-last operands
    return network.to(memory_format=torch.channels_last)


class TinyViT(nn.Module):
    """A pre-norm vision transformer with learned positions and mean pooling.

    Args:
        side: pixels a side of the image.
        classes: of the output.
        patch: pixels a side of a patch; divides `side`.
        width: of a token, a multiple of 16 and of `heads`.
        depth: blocks.
        heads: of the attention.
        ratio: hidden width of the MLP over `width`.

    Raises:
        ValueError: `patch` does not divide `side`.
    """

    def __init__(
        self,
        side: int = 28,
        classes: int = 10,
        *,
        patch: int = 7,
        width: int = 64,
        depth: int = 4,
        heads: int = 4,
        ratio: int = 2,
    ) -> None:
        super().__init__()
        if side % patch:
            raise ValueError(f"patch must divide side, but got patch={patch} and side={side}")
        self.embed = nn.Conv2d(1, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (side // patch) ** 2, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, ratio) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[n, 1, side, side] to [n, classes]."""
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.position
        return self.head(self.norm(self.blocks(tokens)).mean(1))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, width = x.shape
        split = self.qkv(self.norm1(x)).reshape(n, tokens, 3, self.heads, width // self.heads)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(n, tokens, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
