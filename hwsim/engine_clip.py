"""Runs the trained delta CNN over a clip on the delta engine: values, events and cycles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hwsim.config_delta import DeltaConfig
from hwsim.delta_result import DeltaResult
from hwsim.engine_delta import dense_cycles, run_stream
from hwsim.errors import UserError
from hwsim.models.delta import DeltaEncoder, dense_codes
from hwsim.models.delta_cnn import trained_delta_cnn
from hwsim.models.moving_images import synthetic_video
from hwsim.models.streams import Frames, read_frames, read_video

__all__ = ["CLIPS", "simulate_clip"]

CLIPS = {"delta_cnn": "three convolutions trained on change, on a clip of video"}
"""Descriptions by name."""

_FRAMES, _WIDTH, _HEIGHT = 100, 176, 144  # the clip of the speed target, QCIF
_RATE_HZ = 25.0  # of frames whose file does not tell it


def simulate_clip(
    workload: str,
    config: DeltaConfig,
    *,
    source: str | Path | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DeltaResult:
    """Run the trained convolutions of the delta CNN over a clip.

    Args:
        workload: a name of `CLIPS`.
        config: of kind delta, engine layer.
        source: a video, of which up to 100 frames are scaled to 176 x 144 grey pixels, or a `.npy`
            file uint8 [T, height, width]; None is a texture that drifts, 100 frames of 176 x 144.
        seed: of that texture.
        progress: told (steps done, in all).

    Returns:
        the result; its summary has `code_error_max` and `code_error_mean`, of the last layer's
        codes against the same network without deltas: 0 with the quantise rule.

    Raises:
        UserError: an unknown workload, a clip that cannot be used, or a network that does not fit
            the machine.
    """
    if workload not in CLIPS:
        raise UserError(
            f"workload {workload!r} is not one of {', '.join(CLIPS)}, which accelerator "
            f"{config.name} of engine layer runs"
        )
    clip = _clip(source, seed)
    encoder, layers = trained_delta_cnn(classifier=False)
    # pixels become codes first, so that a threshold is in units of a code
    codes = np.cumsum([encoder.step(frame) for frame in clip.values[:, None]], axis=0)
    given = DeltaEncoder(bits=encoder.bits, signed=encoder.signed)
    stream = run_stream(given, layers, codes, config)
    progress(1, 3)
    wrong = [
        np.abs(dense_codes(layers, code)[-1] - np.moveaxis(found, -1, 0))
        for code, found in zip(codes, stream.codes, strict=True)
    ]
    progress(2, 3)
    result = DeltaResult(
        workload=workload,
        config=config,
        runs=stream.runs,
        frames=len(clip),
        rate_hz=clip.rate_hz,
        dense_cycles=dense_cycles(layers, codes.shape[1:], len(clip), config),
        quality={
            "theta": config.theta,
            "code_error_max": int(np.max(wrong)),
            "code_error_mean": float(np.mean(wrong)),
            "saturations": sum(stream.saturations),
        },
        seed=seed,
        notes=clip.notes,
    )
    progress(3, 3)
    return result


def _clip(source: str | Path | None, seed: int) -> Frames:
    if source is None:
        video = synthetic_video(_FRAMES, _HEIGHT, _WIDTH, np.random.default_rng(seed))
        return Frames("drift", video, _RATE_HZ, ("the clip is a texture that drifts, generated",))
    try:
        if str(source).endswith(".npy"):
            clip = read_frames(source, _RATE_HZ)
        else:
            clip = read_video(source, frames=_FRAMES, size=(_WIDTH, _HEIGHT))
    except ValueError as error:
        raise UserError(str(error)) from None
    values = clip.values
    if values.ndim != 3 or values.dtype != np.uint8:
        raise UserError(
            f"{source}: frames must be uint8 [T, height, width], but got {values.dtype} "
            f"of shape {values.shape}"
        )
    return clip
