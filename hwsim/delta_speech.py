"""The trained denoiser NSNet2 over a recording, Theta by Theta: a row of the speech table each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsim.config import replace
from hwsim.config_delta import DeltaConfig
from hwsim.dataflows.delta_rnn import dense_cycles
from hwsim.delta_published import SPEECH_TABLE
from hwsim.delta_run import DeltaRun
from hwsim.engine_edgedrnn import LayerStream, gru_layers, gru_run, snr_db
from hwsim.errors import UserError
from hwsim.models.nsnet2 import RATE_HZ, enhance, features, load_nsnet2
from hwsim.models.streams import Sound, concatenated, example_speech, read_wav, resample_to
from hwsim.workloads_stream import GruStream

__all__ = ["Speech", "SpeechRun", "layer_runs", "recordings", "run_speech"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Speech:
    """A recording as the network takes it.

    Attributes:
        name: shown in tables.
        stream: the network around it.
        wanted: the denoised sound, in float, nothing skipped.
    """

    name: str
    stream: GruStream
    wanted: Floats


@dataclass(frozen=True, eq=False)
class SpeechRun:
    """A recording at one Theta.

    Attributes:
        layers: values and non-zeros of the GRUs.
        row: of the speech table.
    """

    layers: Sequence[LayerStream]
    row: dict[str, Any]


def recordings(folder: Path | None = None) -> list[Speech]:
    """The recording in the package and, as one more, the `.wav` files of a folder in a row.

    Raises:
        UserError: NSNet2's weights are not installed, or a file cannot be used.
    """
    try:
        sounds = [resample_to(example_speech(), RATE_HZ)]
        files = sorted(folder.glob("*.wav")) if folder else []
        if folder and files:
            each = [resample_to(read_wav(path), RATE_HZ) for path in files]
            sounds.append(concatenated(each, f"{len(each)} files of {folder.resolve().name}"))
        return [_around(sound) for sound in sounds]
    except ValueError as error:
        raise UserError(str(error)) from None


def run_speech(speech: Speech, theta: int, config: DeltaConfig) -> SpeechRun:
    """Run a recording through the engine's integers at one Theta.

    Args:
        theta: in units of an activation's last bit, 1/256 in the preset.
        config: of engine gru; its own Theta is not used.

    Returns:
        values, and a row: `sparsity` is the share of all items that is skipped, `cycles_*` of a
        frame through both layers, `speedup` over the same machine with nothing to skip, `snr_db`
        of the denoised sound against the float network's, `effective_gops` two operations a dense
        multiply-accumulate over the mean time.
    """
    machine = replace(config, {"theta": theta})
    assert isinstance(machine, DeltaConfig)
    layers = gru_layers(speech.stream, machine, theta)
    runs = layer_runs(layers, machine)
    cycles = np.sum([run.frame_cycles for run in runs], axis=0)
    dense = dense_cycles([(x.inputs, x.hidden) for x in layers], machine.lanes, machine.fifo_depth)
    seconds = float(cycles.mean()) / machine.clock_hz
    macs = sum(run.macs_dense for run in runs) / len(cycles)
    row = {
        "recording": speech.name,
        "theta": theta,
        "frames": len(cycles),
        "sparsity": 1 - sum(r.nonzero_in for r in runs) / sum(r.items_in for r in runs),
        "cycles_mean": float(cycles.mean()),
        "cycles_p95": float(np.percentile(cycles, 95)),
        "cycles_p99": float(np.percentile(cycles, 99)),
        "cycles_dense": dense,
        "speedup": dense / float(cycles.mean()),
        "latency_us": 1e6 * seconds,
        "effective_gops": 2e-9 * macs / seconds,
        "snr_db": snr_db(speech.wanted, speech.stream.output(layers[-1].states)),
        "published_sparsity": SPEECH_TABLE.get(theta, {}).get("sparsity"),
        "published_cycles_mean": SPEECH_TABLE.get(theta, {}).get("cycles_mean"),
        "published_cycles_p95": SPEECH_TABLE.get(theta, {}).get("cycles_p95"),
    }
    return SpeechRun(layers, row)


def layer_runs(layers: Sequence[LayerStream], config: DeltaConfig) -> list[DeltaRun]:
    """Cycles, traffic and energy of every layer on a machine."""
    return [
        gru_run(f"gru{index}", layer, config, first=index == 0)
        for index, layer in enumerate(layers)
    ]


def _around(sound: Sound) -> Speech:
    network, frames = load_nsnet2(), features(sound)
    values = frames.values.astype(np.float64)

    def reference() -> Floats:
        x = network.before(values)
        for gru in network.grus:
            x = gru(x)
        return x

    def output(states: Floats) -> Floats:
        return enhance(sound, network.after(states))

    stream = GruStream(frames, network.grus, lambda: network.before(values), reference, output)
    return Speech(sound.name, stream, output(reference()))
