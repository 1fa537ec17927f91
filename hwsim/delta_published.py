"""What others have published or measured on networks that compute on change, with its sources."""

from __future__ import annotations

from typing import Any

__all__ = [
    "DAL_DENSITIES",
    "DAL_LAYERS",
    "DAL_OPERATIONS",
    "DAL_SOURCE",
    "EDGEDRNN_HEADLINE",
    "EDGEDRNN_RTL",
    "EDGEDRNN_SOURCE",
    "EYERISS_LAYERS",
    "EYERISS_SOURCE",
    "SPEECH_SOURCE",
    "SPEECH_TABLE",
]

EDGEDRNN_SOURCE = (
    "means over timesteps, measured on the authors' SystemVerilog (Gao et al., arXiv 1912.12193 "
    "and 2012.13600) with an ideal memory; the positions of the non-zeros were not kept"
)

EDGEDRNN_RTL: tuple[dict[str, Any], ...] = tuple(
    dict(zip(("layers", "inputs", "hidden", "theta", "nnz", "items", "rtl"), row, strict=True))
    for row in (
        (1, 64, 128, 0, 146.0, 192, 7106.3),
        (1, 64, 128, 8, 67.5, 192, 3338.2),
        (2, 64, 128, 0, 382.1, 448, 18533.9),
        (2, 64, 128, 4, 292.0, 448, 14206.9),
        (2, 64, 128, 16, 105.0, 448, 5247.2),
        (2, 128, 256, 16, 155.0, 896, 15240.3),
        (2, 40, 400, 8, 295.0, 1240, 44795.6),
        (2, 40, 768, 16, 280.0, 2344, 81668.5),
        (3, 16, 64, 4, 192.5, 336, 4791.5),
    )
)
"""Theta in 1/256; `nnz` non-zeros a step of all `items` of all layers, `rtl` cycles a step."""

EDGEDRNN_HEADLINE: dict[str, Any] = {
    "layers": 2,
    "inputs": 40,
    "hidden": 768,
    "nnz": 228,
    "items": 2344,
    "clock_hz": 125e6,
    "published_latency_us": 500.0,
    "published_effective_gops": 20.2,
    "source": (
        "Gao et al., arXiv 1912.12193, abstract: a GRU of 2 layers in about 0.5 ms, mean effective "
        "20.2 GOp/s; size and non-zeros are of the derivation that gives 535 us at 125 MHz"
    ),
}

EYERISS_SOURCE = (
    "Sparseloop MICRO 2022 artifact: one Eyeriss v2 PE (Chen et al., arXiv 1807.07928) on masks "
    "of a sparse MobileNet of width 0.5"
)

EYERISS_LAYERS: tuple[dict[str, Any], ...] = tuple(
    dict(
        zip(
            (
                "layer",
                "channels",
                "filters",
                "pixels",
                "act_density",
                "weight_density",
                "published",
            ),
            row,
            strict=True,
        )
    )
    for row in (
        ("L07", 64, 64, 1024, 0.728, 0.520, 1702140),
        ("L09", 64, 128, 256, 0.864, 0.818, 1499682),
        ("L19", 256, 256, 64, 0.608, 0.550, 1457458),
        ("L25", 256, 512, 16, 0.677, 0.649, 948572),
    )
)
"""`published` are cycles; densities are shares of non-zeros of activations and weights."""

SPEECH_SOURCE = (
    "NSNet2 on the law of EdgeDRNN in float with Q8.8 thresholds, 8 spoken recordings of Debian's "
    "alsa-utils, 1,137 frames"
)

SPEECH_TABLE: dict[int, dict[str, Any]] = {
    0: {"sparsity": 0.173, "cycles_mean": 168716},
    8: {"sparsity": 0.516, "cycles_mean": 117935},
    32: {"sparsity": 0.744, "cycles_mean": 62444},
    64: {"sparsity": 0.871, "cycles_mean": 31776, "cycles_p95": 66268},
}
"""By Theta in 1/256. The sparsity at 0 does not fit its own cycles: beyond activation and pipeline,
529, they leave room for at most 1,121 columns of 150 cycles, of 1,600: a sparsity of 0.299."""

DAL_SOURCE = (
    "Yousefzadeh, Sifalakis, arXiv 2107.07305, abstract, and the training log of the authors' "
    "public code: ResNet-50 on UCF101"
)

DAL_LAYERS = ("input", "conv1", "conv2", "conv3", "conv4", "conv5", "fc")

DAL_DENSITIES: tuple[dict[str, Any], ...] = tuple(
    {"model": model, "accuracy": accuracy, **dict(zip(DAL_LAYERS, densities, strict=True))}
    for model, accuracy, densities in (
        ("baseline", 0.7303, (1.0, 0.7077, 0.6321, 0.4540, 0.3930, 0.2386, 0.5437)),
        ("spatial", 0.6538, (1.0, 0.6523, 0.4927, 0.3054, 0.1726, 0.0490, 0.7099)),
        ("temporal", 0.6734, (0.1558, 0.0674, 0.0651, 0.0481, 0.0463, 0.0438, 0.0927)),
    )
)
"""Share of non-zeros into each layer."""

DAL_OPERATIONS: dict[str, float] = {"baseline": 0.491, "spatial": 0.653, "temporal": 0.931}
"""Share of multiplies that is skipped, of the same models."""
