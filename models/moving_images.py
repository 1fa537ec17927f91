"""Streams of labelled images in motion: an image moves over a background that moves too.

A clip is a short window of a background video with one image of a data set (`datasets.py`) laid
over it; the label is the image's. Over a real video the image follows the motion of the very
block that it covers, estimated between consecutive frames by full search on the sum of squared
differences with a parabola through the minimum and its neighbours (sub-pixel), so image and
background move as the recorded scene does. Without a video the background is a smooth random
texture that drifts and the image walks at random at a similar speed; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ClipSet", "block_motion", "compose", "moving_clips", "resize", "synthetic_video"]

_SEARCH = 3  # pixels each way a frame; the clips' motion at this size is below 2
_TRIES = 8  # drawn places in a video before a nearly still one is taken
_LEAST_SPEED = 0.1  # pixels a frame; slower places are drawn again, as the images must move
_DIM = 0.6  # the background's share of full brightness, so that most images are brighter


@dataclass(frozen=True, eq=False)
class ClipSet:
    """Labelled clips.

    Attributes:
        frames: uint8 [n, steps, side, side].
        labels: int64 [n].
        speed: float32 [n], mean pixels a frame that the image moves.
    """

    frames: NDArray[np.uint8]
    labels: NDArray[np.int64]
    speed: NDArray[np.float32]


def moving_clips(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    videos: Sequence[NDArray[np.uint8]],
    *,
    clips: int,
    steps: int = 12,
    side: int = 32,
    object_side: int = 20,
    seed: int = 0,
) -> ClipSet:
    """Clips of images drawn with replacement over places and times of `videos`.

    Args:
        images: uint8 [n, height, width]; scaled to `object_side` and to full brightness.
        labels: [n].
        videos: grey, uint8 [frames, height, width] each, at least `steps` frames and `side` + 6
            pixels a side; empty for a synthetic background.
        clips: how many.
        steps: frames a clip.
        side, object_side: pixels of a frame and of the image in it.
        seed: of every draw.

    Raises:
        ValueError: fewer than two frames a clip, an image larger than the frame, or a video that
            is too short or too small.
    """
    if steps < 2 or clips < 1:
        raise ValueError(
            f"a clip must have at least 2 frames and a set 1 clip, but got {steps} and {clips}"
        )
    if not 1 <= object_side <= side:
        raise ValueError(f"object_side must be 1..{side}, but got {object_side}")
    for video in videos:
        if video.ndim != 3 or len(video) < steps or min(video.shape[1:]) < side + 2 * _SEARCH:
            raise ValueError(
                f"a video must be [frames, height, width] with at least {steps} frames of "
                f"{side + 2 * _SEARCH} pixels a side, but got {video.shape}"
            )
    rng = np.random.default_rng(seed)
    top = max(int(images.max()), 1)
    frames = np.empty((clips, steps, side, side), np.uint8)
    speed = np.empty(clips, np.float32)
    picks = rng.integers(len(images), size=clips)
    for i, pick in enumerate(picks):
        room = side - object_side
        start = rng.uniform(0.2 * room, 0.8 * room, 2)
        if videos:
            video = videos[int(rng.integers(len(videos)))]
            window, path = _place(video, start, steps, side, object_side, rng)
        else:
            window, path = _synthetic(start, steps, side, rng)
        path = np.clip(path, 0, room)
        image = resize(images[pick].astype(np.float64) / top, object_side)
        frames[i] = compose(window, image, path)
        speed[i] = np.sqrt((np.diff(path, axis=0) ** 2).sum(1)).mean()
    return ClipSet(frames, labels[picks], speed)


def compose(window: NDArray[np.uint8], image: NDArray, path: NDArray) -> NDArray[np.uint8]:
    """The image laid over a dimmed background along a path.

    A pixel of brightness v covers the background with opacity min(1, 2 v), so dark rims of an
    image let it shine through.

    Args:
        window: uint8 [steps, side, side].
        image: float [object_side, object_side] in 0..1.
        path: float [steps, 2], y and x of the image's corner, inside the frame; fractions shift
            by bilinear interpolation.
    """
    steps, side, _ = window.shape
    size = len(image)
    out = window.astype(np.float64) * (_DIM / 255)
    for t in range(steps):
        corner = np.floor(path[t]).astype(int)
        corner = np.minimum(corner, side - size)
        shifted = _shift(image, *(path[t] - corner))
        y, x = corner
        high, wide = min(size + 1, side - y), min(size + 1, side - x)
        value = shifted[:high, :wide]
        opacity = np.minimum(1, 2 * value)
        place = out[t, y : y + high, x : x + wide]
        place += opacity * (value - place)
    return np.rint(out * 255).astype(np.uint8)


def block_motion(
    before: NDArray, after: NDArray, corner: tuple[int, int], size: int, search: int = _SEARCH
) -> tuple[float, float]:
    """How far (y, x) the block of `before` at `corner` has moved in `after`, in pixels.

    Full search within `search` pixels, ties to the shortest way; a parabola refines each axis.

    Args:
        before, after: [height, width] of any real dtype.
        corner: y and x; the block with `search` pixels around it must lie in the frame.
        size: pixels a side.
    """
    y, x = corner
    if not (search <= y <= before.shape[0] - size - search
            and search <= x <= before.shape[1] - size - search):  # fmt: skip
        raise ValueError(
            f"a block of {size} pixels and {search} around it must lie in the frame "
            f"{before.shape}, but got corner {corner}"
        )
    block = before[y : y + size, x : x + size].astype(np.float64)
    area = after[y - search : y + size + search, x - search : x + size + search]
    seen = np.lib.stride_tricks.sliding_window_view(area.astype(np.float64), (size, size))
    error = ((seen - block) ** 2).sum((2, 3))
    reach = np.arange(-search, search + 1)
    # a still and flat block has equal errors everywhere: it has not moved
    order = np.lexsort((np.add.outer(reach**2, reach**2).ravel(), error.ravel()))
    i, j = np.unravel_index(order[0], error.shape)
    fine_y = _parabola(error[:, j], int(i))
    fine_x = _parabola(error[i, :], int(j))
    return float(reach[i] + fine_y), float(reach[j] + fine_x)


def synthetic_video(
    steps: int, height: int, width: int, rng: np.random.Generator, *, scale: int = 8
) -> NDArray[np.uint8]:
    """A smooth random texture, uint8 [steps, height, width], that drifts at a constant velocity.

    Grey levels on a grid of `scale` pixels are drawn uniformly and interpolated bilinearly; the
    speed is drawn uniformly from 0 to 0.5 pixels a frame, the direction too.
    """
    speed, angle = rng.uniform(0, 0.5), rng.uniform(0, 2 * np.pi)
    drift = np.outer(np.arange(steps), speed * np.array([np.sin(angle), np.cos(angle)]))
    drift -= drift.min(0)
    cells = [int(np.ceil((n + drift.max()) / scale)) + 2 for n in (height, width)]
    grid = rng.uniform(0, 255, cells)
    video = np.empty((steps, height, width), np.uint8)
    for t in range(steps):
        y = (np.arange(height) + drift[t, 0]) / scale
        x = (np.arange(width) + drift[t, 1]) / scale
        video[t] = np.rint(_bilinear(grid, y, x))
    return video


def resize(image: NDArray, side: int) -> NDArray[np.float64]:
    """A square image scaled to `side` pixels: pixel centres aligned, bilinear, area-mean before
    where it shrinks by 2 or more."""
    image = np.asarray(image, np.float64)
    while len(image) >= 2 * side:
        even = len(image) // 2 * 2
        image = image[:even, :even].reshape(even // 2, 2, even // 2, 2).mean((1, 3))
    at = (np.arange(side) + 0.5) * len(image) / side - 0.5
    at = np.clip(at, 0, len(image) - 1)
    return _bilinear(image, at, at)


def _place(
    video: NDArray[np.uint8],
    start: NDArray,
    steps: int,
    side: int,
    size: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray]:
    """A window of the video and the path of the block that begins at `start` in it."""
    for _ in range(_TRIES):
        t0 = int(rng.integers(len(video) - steps + 1))
        y0, x0 = (int(rng.integers(_SEARCH, n - side - _SEARCH + 1)) for n in video.shape[1:])
        path = np.empty((steps, 2))
        path[0] = start
        for t in range(1, steps):
            inside = np.clip(path[t - 1], 0, side - size)
            corner = np.rint(inside).astype(int) + np.array((y0, x0))
            motion = block_motion(
                video[t0 + t - 1], video[t0 + t], (int(corner[0]), int(corner[1])), size
            )
            path[t] = inside + motion
        moved = np.diff(np.clip(path, 0, side - size), axis=0)
        if np.sqrt((moved**2).sum(1)).mean() >= _LEAST_SPEED:
            break
    return video[t0 : t0 + steps, y0 : y0 + side, x0 : x0 + side], path


def _synthetic(
    start: NDArray, steps: int, side: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray]:
    """A drifting texture and a random walk: velocity of deviation 0.4 pixels, slowly changing."""
    velocity = rng.normal(0, 0.4, 2)
    path = np.empty((steps, 2))
    path[0] = start
    for t in range(1, steps):
        velocity = 0.9 * velocity + rng.normal(0, 0.4 * np.sqrt(1 - 0.9**2), 2)
        path[t] = path[t - 1] + velocity
    return synthetic_video(steps, side, side, rng), path


def _shift(image: NDArray, dy: float, dx: float) -> NDArray:
    """The image moved by 0 <= dy, dx <= 1 pixels, one row and one column larger."""
    tall = np.pad(image, ((0, 1), (0, 0))) * (1 - dy) + np.pad(image, ((1, 0), (0, 0))) * dy
    return np.pad(tall, ((0, 0), (0, 1))) * (1 - dx) + np.pad(tall, ((0, 0), (1, 0))) * dx


def _bilinear(grid: NDArray, y: NDArray, x: NDArray) -> NDArray[np.float64]:
    """Samples of the grid at rows `y` and columns `x`, [len(y), len(x)]."""
    rows = _axis(y, grid.shape[0])
    columns = _axis(x, grid.shape[1])
    low = grid[rows[0]] * (1 - rows[2])[:, None] + grid[rows[1]] * rows[2][:, None]
    return low[:, columns[0]] * (1 - columns[2]) + low[:, columns[1]] * columns[2]


def _axis(at: NDArray, n: int) -> tuple[NDArray, NDArray, NDArray]:
    first = np.clip(np.floor(at).astype(int), 0, n - 1)
    return first, np.minimum(first + 1, n - 1), at - first


def _parabola(error: NDArray, at: int) -> float:
    """The vertex's offset from `at` of the parabola through it and its neighbours, within 0.5."""
    if not 0 < at < len(error) - 1:
        return 0.0
    bend = error[at - 1] - 2 * error[at] + error[at + 1]
    if bend <= 0:
        return 0.0
    return float(np.clip((error[at - 1] - error[at + 1]) / (2 * bend), -0.5, 0.5))
