"""NSNet2 on the delta engine: real speech, the law frame by frame, cost of memories, bad input."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from networks import find

from hwsim.config import load_config
from hwsim.dataflows.delta_rnn import dense_cycles, layer_cycles_many, step_cycles
from hwsim.delta_run import latency
from hwsim.engine_edgedrnn import LayerStream, gru_layers, gru_run, simulate_stream, snr_db
from hwsim.errors import UserError
from hwsim.models.nsnet2 import features, load_nsnet2
from hwsim.models.streams import Sound, concatenated, example_speech, read_wav, resample_to
from hwsim.workloads_stream import load_stream

ALSA = Path("/usr/share/sounds/alsa")
"""Where Debian's alsa-utils keeps its recordings."""


@pytest.fixture(scope="module")
def result():
    find("nsnet2")
    return simulate_stream("nsnet2", load_config("edgedrnn", ["theta=32"]))


def test_speech_at_theta_32(result):
    summary = result.summary
    assert summary["frames"] == 709
    assert summary["dense_cycles"] == 709 * dense_cycles([(400, 400), (400, 400)])
    assert 0.70 < summary["sparsity"] < 0.72
    assert 3.3 < summary["speedup"] < 3.5
    assert 33 < summary["snr_db"] < summary["snr_dense_db"] < 38
    assert summary["saturations"] == 0
    numbers = summary["latency"]
    assert numbers["mean"] < numbers["p95"] < numbers["p99"] < numbers["max"] < 240529
    assert sum(numbers["histogram"]["counts"]) == 709
    assert sum(summary["parts"].values()) == summary["cycles"] == result.frame_cycles.sum()


def test_frames_equal_the_oracle(result):
    """Every frame's cycles are the published algorithm's on its own non-zeros."""
    stream = load_stream("nsnet2")
    layers = gru_layers(stream, result.config, 32)
    for t in (0, 1, 17, 300, 708):
        step = [(x.inputs, x.hidden, np.flatnonzero(x.nonzero[t])) for x in layers]
        assert result.frame_cycles[t] == step_cycles(step)
        assert result.frame_rows[t]["nonzero_gru1"] == len(step[1][2])


def test_files(result, tmp_path):
    result.write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"summary.json", "layers.csv", "frames.csv", "config.yaml", "latency.png"} <= names
    assert json.loads((tmp_path / "summary.json").read_text()) == result.summary
    assert load_config(tmp_path / "config.yaml") == result.config
    again = simulate_stream("nsnet2", load_config(tmp_path / "config.yaml"))
    assert again.summary == result.summary
    assert len(result.layers) == 2
    assert (result.layers["density_in"] < 0.4).all()
    result.write(tmp_path, figures=False)
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.slow
@pytest.mark.skipif(not ALSA.is_dir(), reason="Debian's alsa-utils is not installed")
def test_speech_table():
    """Published to us for Q8.8 and the threshold rule over 8 recordings, 1,137 frames: mean cycles
    within 0.2 %, 95th percentile at 64 within 0.5 % (the resampling to 16 kHz is not stated).

    The sparsity is within half a percentage point but for Theta = 0, where the table's .173 does
    not fit its own 168,716 cycles: 1 - .173 of 1600 items at 150 cycles are 198,480 already.
    """
    find("nsnet2")
    files = sorted(path for path in ALSA.glob("*.wav") if path.stem != "Noise")
    sound = concatenated([resample_to(read_wav(path), 16000) for path in files], "alsa-utils")
    assert len(features(sound)) == 1137
    table = {0: (0.299, 168716), 8: (0.516, 117935), 32: (0.744, 62444), 64: (0.871, 31776)}
    from hwsim.workloads_stream import _nsnet2_sound

    stream = _nsnet2_sound(load_nsnet2(), sound)
    for theta, (sparsity, cycles) in table.items():
        config = load_config("edgedrnn", [f"theta={theta}"])
        layers = gru_layers(stream, config, theta, "float")
        runs = [gru_run(str(i), x, config, first=i == 0) for i, x in enumerate(layers)]
        each = runs[0].frame_cycles + runs[1].frame_cycles
        assert each.mean() == pytest.approx(cycles, rel=0.002)
        assert 1 - np.mean([x.nonzero.mean() for x in layers]) == pytest.approx(sparsity, abs=0.006)
        if theta == 64:
            assert np.percentile(each, 95) == pytest.approx(66268, rel=0.005)


def test_silero_vad():
    """An LSTM: EdgeDRNN's law with columns of four gates, values in float."""
    find("silero_vad")
    config = load_config("edgedrnn", ["theta=32"])
    result = simulate_stream("silero_vad", config)
    summary = result.summary
    assert (summary["frames"], summary["arithmetic"]) == (221, "float")
    assert 0.70 < summary["sparsity"] < 0.76
    assert 27 < summary["snr_db"] < 31 < summary["snr_dense_db"]
    (layer,) = gru_layers(load_stream("silero_vad"), config, 32)
    wanted = layer_cycles_many(128, 128, layer.nonzero, column_cycles=4 * 128 // 8) + 14
    assert result.frame_cycles.tolist() == wanted.tolist()
    assert summary["macs_effective"] == 4 * 128 * int(layer.nonzero.sum())
    assert result.rows[0]["op"] == "lstm"
    assert summary["state_bytes"] == 256 * 2 + 5 * 128 * 3 + 128 * 2
    with pytest.raises(UserError, match="cannot read"):
        simulate_stream("silero_vad", config, source="nothing.wav")


def some_layer(inputs=24, hidden=16, frames=30):
    rng = np.random.default_rng(0)
    mask = rng.random((frames, inputs + hidden)) < 0.3
    return LayerStream(inputs, hidden, mask, rng.random((frames, hidden)), 0)


def test_narrow_dram_and_state_in_dram_cost_what_they_move():
    layer = some_layer()
    config = load_config("edgedrnn")
    plain = gru_run("x", layer, config, first=True)
    events = int(layer.nonzero.sum())
    assert plain.bytes_by_cause == {"weights.read": events * 48}
    assert plain.state_bytes == (24 + 16) * 2 + 4 * 16 * 3 + 16 * 2
    late = gru_run("x", layer, load_config("edgedrnn", ["dram.latency_cycles=30"]), first=True)
    assert late.cycles - plain.cycles == 30 * 29
    assert late.parts["weight_start"] == 30 * 29
    narrow = gru_run("x", layer, load_config("edgedrnn", ["dram.bytes_per_cycle=4.0"]), first=True)
    assert narrow.parts["stall_dram"] == events * 6
    assert narrow.cycles > plain.cycles + events * 5
    state = gru_run("x", layer, load_config("edgedrnn", ["state_memory=dram"]), first=True)
    assert state.bytes_by_cause["state.write"] == 30 * plain.state_bytes
    assert state.parts["state"] == 30 * 2 * (plain.state_bytes // 8 + 1)
    assert state.cycles == plain.cycles + state.parts["state"]
    assert state.energy_pj > plain.energy_pj
    chip = gru_run("x", layer, load_config("edgedrnn", ["weight_memory=chip"]), first=True)
    assert chip.bytes_by_cause == {}
    assert chip.cycles == plain.cycles


def test_record_refuses_what_does_not_add_up():
    run = gru_run("x", some_layer(), load_config("edgedrnn"), first=True)
    with pytest.raises(ValueError, match="parts of x must sum to"):
        replace(run, cycles=run.cycles + 1)
    with pytest.raises(ValueError, match="frame_nonzero of x must sum to"):
        replace(run, nonzero_in=run.nonzero_in + 1)
    with pytest.raises(ValueError, match=r"no counter 'delta.nothing'"):
        replace(run, counters={"delta.nothing": 1})
    with pytest.raises(ValueError, match=r"must end in .read or .write, but got 'state'"):
        replace(run, bytes_by_cause={"state": 1})
    with pytest.raises(ValueError, match="must not be negative, but got -1"):
        replace(run, counters={"delta.mac": -1})


def test_latency_statistics():
    numbers = latency(np.arange(1, 101, dtype=np.int64))
    assert (numbers["mean"], numbers["min"], numbers["max"]) == (50.5, 1, 100)
    assert numbers["p95"] == pytest.approx(95.05)
    assert numbers["histogram"]["counts"] == [5] * 20


def test_snr():
    assert snr_db(np.array([3.0, 4.0]), np.array([3.0, 4.0])) is None
    assert snr_db(np.array([10.0]), np.array([9.0])) == pytest.approx(20)


def write_wav(path, samples, rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (44100, 44100, "the sample rate must be 16000 Hz or a multiple of it, but got 44100 Hz"),
        (400, 16000, "at least 2 frames"),
    ],
)
def test_bad_sound(tmp_path, samples, rate, message):
    find("nsnet2")
    path = write_wav(tmp_path / "x.wav", np.zeros(samples), rate)
    with pytest.raises(UserError, match=message) as error:
        simulate_stream("nsnet2", load_config("edgedrnn"), source=path)
    assert "\n" not in str(error.value)


def test_bad_frames(tmp_path):
    find("nsnet2")
    values = features(example_speech()).values[:20].copy()
    np.save(tmp_path / "good.npy", values)
    good = simulate_stream("nsnet2", load_config("edgedrnn"), source=tmp_path / "good.npy")
    assert good.summary["frames"] == 20
    values[7, 3] = np.nan
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(UserError, match="every value must be finite, but got nan in frame 7"):
        simulate_stream("nsnet2", load_config("edgedrnn"), source=tmp_path / "bad.npy")
    np.save(tmp_path / "narrow.npy", values[:, :9])
    with pytest.raises(UserError, match=r"finite, but got nan"):
        simulate_stream("nsnet2", load_config("edgedrnn"), source=tmp_path / "narrow.npy")
    np.save(tmp_path / "short.npy", values[:1])
    with pytest.raises(UserError, match="at least 2 frames, but got 1"):
        simulate_stream("nsnet2", load_config("edgedrnn"), source=tmp_path / "short.npy")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["lanes=3"], "lanes must divide the 400 units of layer gru0, but got 3"),
        (["reference_words=512"], "needs reference_words for 800 items, but got 512"),
        (["sigma_words=64"], "needs sigma_words for 1600 sums, but got 64 words of 8"),
        (["detector_width=8"], "detector_width must be 1"),
    ],
)
def test_networks_that_do_not_fit(overrides, message):
    find("nsnet2")
    with pytest.raises(UserError, match=message):
        simulate_stream("nsnet2", load_config("edgedrnn", overrides))


def test_bad_configuration_and_workload():
    with pytest.raises(UserError, match=r"theta: .*greater than or equal to 0, but got -1"):
        load_config("edgedrnn", ["theta=-1"])
    with pytest.raises(UserError, match="workload 'nothing' is not one of nsnet2, silero_vad"):
        simulate_stream("nothing", load_config("edgedrnn"))


def test_silence_is_skipped():
    find("nsnet2")
    from hwsim.workloads_stream import _nsnet2_sound

    quiet = _nsnet2_sound(load_nsnet2(), Sound("silence", np.zeros(16000), 16000))
    config = load_config("edgedrnn")
    layers = gru_layers(quiet, config, 64)
    assert all(layer.nonzero[-20:].mean() < 0.01 for layer in layers)  # 0.87 are skipped in speech
