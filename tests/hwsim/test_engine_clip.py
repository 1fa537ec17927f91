"""The trained delta CNN over a clip: exact with the quantise rule, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from hwsim import simulate
from hwsim.errors import UserError


def clip(tmp_path, values):
    path = tmp_path / "clip.npy"
    np.save(path, values)
    return path


def moving_square(frames=4, side=24):
    values = np.zeros((frames, side, side), np.uint8)
    for t, frame in enumerate(values):
        frame[4 : 4 + side // 3, 2 + t : 2 + t + side // 3] = 200
    return values


def test_the_quantise_rule_changes_no_code(tmp_path):
    summary = simulate("delta_cnn", "dal", source=clip(tmp_path, moving_square())).summary
    assert (summary["code_error_max"], summary["code_error_mean"]) == (0, 0.0)
    assert (summary["frames"], summary["saturations"], summary["theta"]) == (4, 0, None)
    assert 0 < summary["macs_effective"] < summary["macs_dense"]
    assert sum(summary["parts"].values()) == summary["cycles"]


def test_a_threshold_saves_work_and_costs_exactness(tmp_path):
    path = clip(tmp_path, moving_square())
    exact = simulate("delta_cnn", "dal", source=path).summary
    rough = simulate("delta_cnn", "dal", overrides=["theta=255"], source=path).summary
    assert rough["macs_effective"] < exact["macs_effective"]
    assert rough["code_error_max"] > 0


def test_a_still_clip_costs_one_frame_of_work(tmp_path):
    still = np.repeat(moving_square(1), 3, axis=0)
    first = simulate("delta_cnn", "dal", source=clip(tmp_path, still[:2])).summary
    more = simulate("delta_cnn", "dal", source=clip(tmp_path, still)).summary
    assert more["macs_effective"] == first["macs_effective"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros((3, 8, 8), np.float32), "frames must be uint8 .T, height, width., but got float"),
        (np.full((3, 8, 8), np.nan), "every value must be finite, but got nan in frame 0"),
        (np.zeros((1, 8, 8), np.uint8), "a clip must have at least 2 frames, but got 1"),
        (np.zeros((3, 64), np.uint8), "frames must be uint8 .T, height, width., but got uint8"),
    ],
)
def test_clips_that_are_refused(tmp_path, values, text):
    with pytest.raises(UserError, match=text):
        simulate("delta_cnn", "dal", source=clip(tmp_path, values))


def test_other_workloads_and_missing_files_are_refused():
    with pytest.raises(UserError, match="workload 'nsnet2' is not one of delta_cnn"):
        simulate("nsnet2", "dal")
    with pytest.raises(UserError, match=r"nothing\.npy"):
        simulate("delta_cnn", "dal", source="nothing.npy")
