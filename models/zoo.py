"""The network zoo: published architectures with seeded weights and a stated sparsity.

Weights are He-normal from a seed, so values are reproducible but not trained, except where an entry
says so; shapes, parameters and products are those of the published networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from numpy.typing import NDArray

from hwsim.models.builder import NetworkBuilder
from hwsim.models.network import Network

__all__ = ["ZOO", "Entry", "build", "from_pytorch"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One network of the zoo.

    Attributes:
        description: input, depth and where it comes from.
        make: adds the network to a builder for a batch size and returns its output.
        sparsity: unstructured share of zero weights, stated.
        trained: the weights are trained and come with the package.
    """

    description: str
    make: Callable[[NetworkBuilder, int], str]
    sparsity: float = 0.0
    trained: bool = False


def build(
    name: str, *, batch: int = 1, seed: int = 0, weights: Mapping[str, NDArray] | None = None
) -> Network:
    """A network of the zoo.

    Args:
        batch: images, sequences or frames at once.
        seed: of the weights where they are not trained.
        weights: trained values by parameter name; see `from_pytorch`.

    Raises:
        ValueError: there is none of that name, batch is below 1, or trained values are missing or
            of another shape.
    """
    if name not in ZOO:
        raise ValueError(f"the zoo has no network {name!r}; it has {', '.join(sorted(ZOO))}")
    if batch < 1:
        raise ValueError(f"batch >= 1 must hold, but got {batch}")
    entry = ZOO[name]
    if weights is None and entry.trained:
        from hwsim.models.digits import shipped_weights

        weights = shipped_weights(name)
    values = None if weights is None else dict(weights)
    builder = NetworkBuilder(name, seed=seed, sparsity=entry.sparsity, weights=values)
    return builder.finish(entry.make(builder, batch))


def from_pytorch(state: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """A PyTorch state dict's arrays under the zoo's parameter names.

    Takes off the `module.` of data-parallel training and names the running statistics as the zoo
    does; counters such as `num_batches_tracked` are left out.
    """
    found = {}
    for key, value in state.items():
        name = key.removeprefix("module.")
        if name.endswith("num_batches_tracked"):
            continue
        found[name.replace("running_mean", "mean").replace("running_var", "var")] = value
    return found


def _conv_bn(
    b: NetworkBuilder,
    name: str,
    norm: str,
    x: str,
    filters: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> str:
    y = b.conv(name, x, filters, kernel, stride=stride, pad=kernel // 2, groups=groups)
    return b.batch_norm(norm, y)


def _resnet9(b: NetworkBuilder, batch: int) -> str:
    def block(name: str, x: str, filters: int, pool: bool = False) -> str:
        y = b.unary(
            f"{name}.relu", "Relu", _conv_bn(b, f"{name}.conv", f"{name}.bn", x, filters, 3)
        )
        return b.max_pool(f"{name}.pool", y, 2, 2) if pool else y

    x = block("prep", b.input("image", batch, 3, 32, 32), 64)
    for stage, filters in ((1, 128), (2, 256), (3, 512)):
        x = block(f"layer{stage}", x, filters, pool=True)
        if stage != 2:
            y = block(f"layer{stage}.res1", x, filters)
            y = block(f"layer{stage}.res2", y, filters)
            x = b.add(f"layer{stage}.add", x, y)
    x = b.max_pool("pool", x, 4, 4)
    return b.linear("fc", b.flatten("flat", x), 10)


def _basic_block(b: NetworkBuilder, name: str, x: str, filters: int, stride: int) -> str:
    y = _conv_bn(b, f"{name}.conv1", f"{name}.bn1", x, filters, 3, stride=stride)
    y = b.unary(f"{name}.relu1", "Relu", y)
    y = _conv_bn(b, f"{name}.conv2", f"{name}.bn2", y, filters, 3)
    if b.shapes[x] != b.shapes[y]:
        x = _conv_bn(b, f"{name}.downsample", f"{name}.downsample.bn", x, filters, 1, stride=stride)
    return b.unary(f"{name}.relu2", "Relu", b.add(f"{name}.add", y, x))


def _bottleneck(b: NetworkBuilder, name: str, x: str, width: int, stride: int) -> str:
    y = x
    for i, (filters, kernel, step) in enumerate(
        ((width, 1, 1), (width, 3, stride), (4 * width, 1, 1)), start=1
    ):
        y = _conv_bn(b, f"{name}.conv{i}", f"{name}.bn{i}", y, filters, kernel, stride=step)
        if i < 3:
            y = b.unary(f"{name}.relu{i}", "Relu", y)
    if b.shapes[x] != b.shapes[y]:
        x = _conv_bn(
            b, f"{name}.downsample", f"{name}.downsample.bn", x, 4 * width, 1, stride=stride
        )
    return b.unary(f"{name}.relu3", "Relu", b.add(f"{name}.add", y, x))


def _imagenet_resnet(
    depths: tuple[int, ...], block: Callable[[NetworkBuilder, str, str, int, int], str]
) -> Callable[[NetworkBuilder, int], str]:
    def make(b: NetworkBuilder, batch: int) -> str:
        x = _conv_bn(b, "conv1", "bn1", b.input("image", batch, 3, 224, 224), 64, 7, stride=2)
        x = b.max_pool("maxpool", b.unary("relu", "Relu", x), 3, 2, 1)
        for stage, depth in enumerate(depths, start=1):
            for i in range(depth):
                stride = 2 if stage > 1 and i == 0 else 1
                x = block(b, f"layer{stage}.{i}", x, 64 << (stage - 1), stride)
        return b.linear("fc", b.global_pool("avgpool", x), 1000)

    return make


def _resnet20(b: NetworkBuilder, batch: int) -> str:
    x = b.unary(
        "relu", "Relu", _conv_bn(b, "conv1", "bn1", b.input("image", batch, 3, 32, 32), 16, 3)
    )
    for stage in (1, 2, 3):
        for i in range(3):
            name, filters = f"layer{stage}.{i}", 8 << stage
            stride = 2 if stage > 1 and i == 0 else 1
            y = _conv_bn(b, f"{name}.conv1", f"{name}.bn1", x, filters, 3, stride=stride)
            y = b.unary(f"{name}.relu1", "Relu", y)
            y = _conv_bn(b, f"{name}.conv2", f"{name}.bn2", y, filters, 3)
            if b.shapes[x] != b.shapes[y]:  # option A: every second pixel, zero channels around
                batch_, channels, h, w = b.shapes[x]
                x = b.node(
                    f"{name}.cut",
                    "Slice",
                    [
                        x,
                        b.constant(f"{name}.starts", [0, 0]),
                        b.constant(f"{name}.ends", [h, w]),
                        b.constant(f"{name}.axes", [2, 3]),
                        b.constant(f"{name}.steps", [2, 2]),
                    ],
                    (batch_, channels, h // 2, w // 2),
                )
                side = (filters - channels) // 2
                x = b.node(
                    f"{name}.widen",
                    "Pad",
                    [x, b.constant(f"{name}.pads", [0, side, 0, 0, 0, side, 0, 0])],
                    (batch_, filters, h // 2, w // 2),
                )
            x = b.unary(f"{name}.relu2", "Relu", b.add(f"{name}.add", y, x))
    return b.linear("linear", b.global_pool("avgpool", x), 10)


def _vgg19(b: NetworkBuilder, batch: int) -> str:
    x = b.input("image", batch, 3, 32, 32)
    for stage, (depth, filters) in enumerate(((2, 64), (2, 128), (4, 256), (4, 512), (4, 512)), 1):
        for i in range(1, depth + 1):
            x = _conv_bn(b, f"conv{stage}_{i}", f"bn{stage}_{i}", x, filters, 3)
            x = b.unary(f"relu{stage}_{i}", "Relu", x)
        x = b.max_pool(f"pool{stage}", x, 2, 2)
    return b.linear("fc", b.flatten("flat", x), 10)


def _mobilenet_v2(b: NetworkBuilder, batch: int) -> str:
    x = _conv_bn(b, "conv1", "bn1", b.input("image", batch, 3, 224, 224), 32, 3, stride=2)
    x = b.relu6("relu1", x)
    settings = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    index = 0
    for expand, filters, repeat, first in settings:
        for i in range(repeat):
            index += 1
            name, inside = f"block{index}", x
            width = b.shapes[x][1] * expand
            if expand != 1:
                inside = _conv_bn(b, f"{name}.expand", f"{name}.bn1", inside, width, 1)
                inside = b.relu6(f"{name}.relu1", inside)
            stride = first if i == 0 else 1
            inside = _conv_bn(
                b, f"{name}.depthwise", f"{name}.bn2", inside, width, 3, stride=stride, groups=width
            )
            inside = b.relu6(f"{name}.relu2", inside)
            inside = _conv_bn(b, f"{name}.project", f"{name}.bn3", inside, filters, 1)
            x = b.add(f"{name}.add", inside, x) if b.shapes[x] == b.shapes[inside] else inside
    x = b.relu6("relu_last", _conv_bn(b, "conv_last", "bn_last", x, 1280, 1))
    return b.linear("fc", b.global_pool("avgpool", x), 1000)


def _encoder(b: NetworkBuilder, name: str, x: str, heads: int, *, norm_first: bool) -> str:
    width = b.shapes[x][-1]

    def feed_forward(y: str) -> str:
        y = b.unary(f"{name}.gelu", "Gelu", b.linear(f"{name}.ffn1", y, 4 * width))
        return b.linear(f"{name}.ffn2", y, width)

    if norm_first:
        y = b.attention(f"{name}.attention", b.layer_norm(f"{name}.norm1", x), heads)
        x = b.add(f"{name}.add1", x, y)
        return b.add(f"{name}.add2", x, feed_forward(b.layer_norm(f"{name}.norm2", x)))
    y = b.add(f"{name}.add1", x, b.attention(f"{name}.attention", x, heads))
    x = b.layer_norm(f"{name}.norm1", y)
    return b.layer_norm(f"{name}.norm2", b.add(f"{name}.add2", x, feed_forward(x)))


def _vit_small(b: NetworkBuilder, batch: int) -> str:
    width, patches = 384, 196
    x = b.conv("patch", b.input("image", batch, 3, 224, 224), width, 16, stride=16, bias=True)
    x = b.transpose("tokens", b.reshape("patches", x, batch, width, patches), 0, 2, 1)
    token = b.parameter("class_token", (1, 1, width), fill=0.0)
    spread = b.constant("class_shape", [batch, 1, width])
    first = b.node("class", "Expand", [token, spread], (batch, 1, width))
    x = b.node("concat", "Concat", [first, x], (batch, patches + 1, width), axis=1)
    x = b.add(
        "position", x, b.parameter("position_embedding", (1, patches + 1, width), fan_in=5000)
    )
    for i in range(12):
        x = _encoder(b, f"encoder{i}", x, 6, norm_first=True)
    x = b.layer_norm("norm", x)
    index = b.constant("class_index", 0)
    x = b.node("head_input", "Gather", [x, index], (batch, width), axis=1)
    return b.linear("head", x, 1000)


def _bert_base(b: NetworkBuilder, batch: int) -> str:
    x = b.input("embeddings", batch, 128, 768)
    for i in range(12):
        x = _encoder(b, f"encoder{i}", x, 12, norm_first=False)
    return x


def _recurrent(
    op: str, layers: int, size: int, hidden: int
) -> Callable[[NetworkBuilder, int], str]:
    def make(b: NetworkBuilder, batch: int) -> str:
        x = b.input("frames", 100, batch, size)
        for i in range(layers):
            x = b.recurrent(f"{op.lower()}{i}", op, x, hidden)
        return x

    return make


def _gemm(size: int) -> Callable[[NetworkBuilder, int], str]:
    def make(b: NetworkBuilder, batch: int) -> str:
        return b.linear("gemm", b.input("a", batch * size, size), size, bias=False)

    return make


def _digits_mlp(b: NetworkBuilder, batch: int) -> str:
    x = b.input("image", batch, 64)
    for i, width in enumerate((64, 32), start=1):
        x = b.unary(f"relu{i}", "Relu", b.linear(f"fc{i}", x, width))
    return b.linear("fc3", x, 10)


def _digits_cnn(b: NetworkBuilder, batch: int) -> str:
    x = b.input("image", batch, 1, 8, 8)
    for i, filters in enumerate((16, 32), start=1):
        x = b.unary(f"relu{i}", "Relu", b.conv(f"conv{i}", x, filters, 3, pad=1, bias=True))
        x = b.max_pool(f"pool{i}", x, 2, 2)
    return b.linear("fc", b.flatten("flat", x), 10)


ZOO: dict[str, Entry] = {
    "resnet9": Entry(description="ResNet-9, 32 x 32 (DAWNBench's CIFAR-10 network)", make=_resnet9),
    "resnet18": Entry(
        description="ResNet-18, 224 x 224 (arXiv 1512.03385)",
        make=_imagenet_resnet((2, 2, 2, 2), _basic_block),
    ),
    "resnet20": Entry(
        description="ResNet-20, 32 x 32 (arXiv 1512.03385, option A)", make=_resnet20
    ),
    "resnet50": Entry(
        description="ResNet-50, 224 x 224, stride in the 3 x 3 (arXiv 1512.03385)",
        make=_imagenet_resnet((3, 4, 6, 3), _bottleneck),
    ),
    "vgg19": Entry(description="VGG-19 with batch norm, 32 x 32 (arXiv 1409.1556)", make=_vgg19),
    "mobilenet_v2": Entry(
        description="MobileNet-V2, 224 x 224 (arXiv 1801.04381)", make=_mobilenet_v2
    ),
    "vit_small": Entry(
        description="ViT-S/16, 224 x 224 (arXiv 2010.11929 and 2012.12877)", make=_vit_small
    ),
    "bert_base": Entry(
        description="BERT base encoder, 128 tokens, embeddings in (arXiv 1810.04805)",
        make=_bert_base,
    ),
    "lstm": Entry(
        description="2 LSTM layers of 256, 100 frames of 128", make=_recurrent("LSTM", 2, 128, 256)
    ),
    "gru": Entry(
        description="2 GRU layers of 256, 100 frames of 128", make=_recurrent("GRU", 2, 128, 256)
    ),
    "gemm1024": Entry(description="one product of 1024 x 1024 x 1024", make=_gemm(1024)),
    "gemm256": Entry(description="one product of 256 x 256 x 256", make=_gemm(256)),
    "digits_mlp": Entry(
        description="64-64-32-10 perceptron trained on scikit-learn's digits",
        make=_digits_mlp,
        trained=True,
    ),
    "digits_cnn": Entry(
        description="two convolutions and a classifier trained on scikit-learn's digits, 8 x 8",
        make=_digits_cnn,
        trained=True,
    ),
}
"""Networks by name."""
