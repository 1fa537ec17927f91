"""Networks that compute on change: cycle laws and their oracles, real speech, published savings.

EdgeDRNN and Eyeriss v2: the laws against what was measured (`hwsim.delta_oracles`). Speech: the
trained denoiser NSNet2 on the preset `edgedrnn`, Theta by Theta, in the machine's integers
(`hwsim.delta_speech`). Cost of state: what the memories take that live from frame to frame, and
where they erase the saving (`hwsim.state_cost`). Delta activations: the headline of the study that
`examples/delta_study.py` ran, as it was recorded; training takes too long to repeat here. It is
another task than the paper's, which stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsim.config import dump_config, load_config
from hwsim.config_delta import DeltaConfig
from hwsim.delta_oracles import edgedrnn_rows, eyeriss_rows, headline_row
from hwsim.delta_published import (
    DAL_DENSITIES,
    DAL_OPERATIONS,
    DAL_SOURCE,
    EDGEDRNN_SOURCE,
    EYERISS_SOURCE,
    SPEECH_SOURCE,
    SPEECH_TABLE,
)
from hwsim.delta_speech import SpeechRun, recordings, run_speech
from hwsim.errors import UserError
from hwsim.models.delta_cnn import study_summary
from hwsim.models.nsnet2 import find_nsnet2
from hwsim.reproduce import table
from hwsim.state_cost import (
    CNN_STEPS,
    PLACES,
    RIVALS,
    break_even,
    cnn_clip,
    cnn_rows,
    crossings,
    gru_rows,
)

__all__ = ["PRODUCTS", "STATE_THETAS", "THETAS", "DeltaStudy", "reproduce_delta"]

Progress = Callable[..., None]

THETAS = (0, 8, 32, 64)
"""In units of 1/256, as in the speech table that stands beside."""

STATE_THETAS = (*THETAS, 16, 128, 256)
"""Of the cost of state: chosen to reach from most items to next to none."""

PRODUCTS = tuple(9 * 2**i for i in range(10))
"""Of a sum, 3 x 3 kernels over 1 to 512 channels: where the cost of state is given in closed form.
"""


@dataclass(frozen=True, eq=False)
class DeltaStudy:
    """All tables.

    Attributes:
        config: of the preset `edgedrnn`.
        edgedrnn, eyeriss: of `hwsim.delta_oracles`.
        speech: of `hwsim.delta_speech`, a recording after the other, Theta rising.
        state: of `hwsim.state_cost`, a row a workload, place of memories and point.
        dal: of `hwsim.models.delta_cnn.study_summary`; empty where the study is not recorded.
        notes: what is missing and why, in sentences.
    """

    config: DeltaConfig
    edgedrnn: Sequence[dict[str, Any]]
    eyeriss: Sequence[dict[str, Any]]
    speech: Sequence[SpeechRun]
    state: Sequence[dict[str, Any]]
    dal: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """The keys are a contract: `edgedrnn`, `eyeriss_v2`, `nsnet2`, `dal`."""
        import hwsim

        return {
            "headline": "delta",
            "edgedrnn": list(self.edgedrnn),
            "edgedrnn_headline": headline_row(),
            "eyeriss_v2": list(self.eyeriss),
            "nsnet2": [run.row for run in self.speech],
            "dal": self.dal,
            "state_cost": {
                "rows": list(self.state),
                "crossings": crossings(self.state),
                "break_even": self.break_even,
            },
            "published": {
                "edgedrnn_rtl": EDGEDRNN_SOURCE,
                "eyeriss_v2": EYERISS_SOURCE,
                "speech": {str(theta): row for theta, row in SPEECH_TABLE.items()},
                "speech_source": SPEECH_SOURCE,
                "dal": list(DAL_DENSITIES),
                "dal_operations_skipped": DAL_OPERATIONS,
                "dal_source": DAL_SOURCE,
            },
            "notes": list(self.notes),
            "version": hwsim.__version__,
        }

    @property
    def break_even(self) -> list[dict[str, Any]]:
        """Share of a sum's products below which energy is saved, in closed form."""
        config = load_config("dal")
        assert isinstance(config, DeltaConfig)
        return [
            {"weights": weights, "state": state, "dense": dense, "products": products}
            | {"share": break_even(products, config, state=state, dense=dense, weights=weights)}
            for weights in PLACES
            for state in PLACES
            for dense in RIVALS
            for products in PRODUCTS
        ]

    def files(self) -> dict[str, bytes]:
        """CSV tables, the configuration and the figures."""
        from hwsim.reproduce_delta_figures import study_figures

        files = {
            "config.yaml": dump_config(self.config).encode(),
            "edgedrnn.csv": table(self.edgedrnn),
            "eyeriss_v2.csv": table(self.eyeriss),
            "state_cost.csv": table(self.state),
            "break_even.csv": table(self.break_even),
        }
        if self.speech:
            files["nsnet2.csv"] = table([run.row for run in self.speech])
        return files | study_figures(self)

    def lines(self) -> list[str]:
        """The tables as text."""
        words = [
            "EdgeDRNN, cycles a step: law and plain algorithm on the same random positions, and",
            "the mean measured in the authors' RTL on other positions with as many non-zeros",
            f"{'layers':>6} {'inputs':>6} {'hidden':>6} {'nnz':>6} {'cycles':>9} {'oracle':>9} "
            f"{'rtl':>9}",
        ]
        words += [
            f"{r['layers']:6} {r['inputs']:6} {r['hidden']:6} {r['nnz']:6.1f} {r['cycles']:9.1f} "
            f"{r['oracle']:9.1f} {r['rtl']:9.1f} ({r['difference']:+.2%})"
            for r in self.edgedrnn
        ]
        head = headline_row()
        words.append(
            f"  {head['nnz']} of {head['items']} non-zeros: {head['latency_us']:.0f} us and "
            f"{head['effective_gops']:.1f} GOp/s; published about "
            f"{head['published_latency_us']:.0f} us and {head['published_effective_gops']} GOp/s"
        )
        words.append("Eyeriss v2 PE, cycles a layer: from masks, oracle, published")
        words += [
            f"  {r['layer']} {r['masks']:6} {r['cycles']:9,} {r['oracle']:9,} {r['published']:9,} "
            f"({r['difference']:+.1%})"
            for r in self.eyeriss
        ]
        name = ""
        for row in (run.row for run in self.speech):
            if row["recording"] != name:
                name = row["recording"]
                words.append(f"NSNet2 on edgedrnn, {name}: sparsity, cycles a frame, SNR")
            words.append(
                f"  theta {row['theta']:3} {row['sparsity']:.3f} mean {row['cycles_mean']:9,.0f} "
                f"p95 {row['cycles_p95']:9,.0f} {row['speedup']:5.2f}x {row['snr_db']:5.1f} dB"
            )
        words.append("more energy than a dense machine, by where weights and state live:")
        words += [_state_line(row) for row in crossings(self.state)]
        words += _dal_lines(self.dal)
        return words + list(self.notes)


def reproduce_delta(
    data: Path | None = None, *, progress: Progress = lambda done, total, words="": None
) -> DeltaStudy:
    """Compute every table.

    Args:
        data: a folder of real inputs, each optional: masks of Eyeriss v2's layers (as
            `hwsim.delta_oracles.eyeriss_rows` takes them) and `.wav` files of speech, which are
            run one after the other as one recording.
        progress: told (steps done, steps in all, what).

    Raises:
        UserError: a file that is there cannot be used.
    """
    if data is not None and not data.is_dir():
        raise UserError(f"data must be a folder, but got {data}")
    config = load_config("edgedrnn")
    assert isinstance(config, DeltaConfig)
    notes = []
    sounds = []
    try:
        find_nsnet2()
    except ValueError as error:
        notes.append(f"the speech table is left out: {error}")
    else:
        sounds = recordings(data)
    more = [theta for theta in STATE_THETAS if theta not in THETAS]
    total = 3 + len(sounds) * len(THETAS) + (len(more) if sounds else 0)
    edgedrnn = edgedrnn_rows()
    progress(1, total, "edgedrnn")
    eyeriss = eyeriss_rows(data)
    progress(2, total, "eyeriss_v2")
    if any(row["masks"] == "random" for row in eyeriss):
        notes.append(
            "Eyeriss v2's published cycles need the real masks, whose folder --data gives; "
            "here random masks of the same densities are counted"
        )
    try:
        dal = study_summary()
    except OSError:
        dal = {}
        notes.append("the study of delta activations is left out: the package has no record of it")
    done = 2
    speech: list[SpeechRun] = []
    points = []
    for sound, theta in [(x, t) for x in sounds for t in THETAS]:
        speech.append(run_speech(sound, theta, config))
        done += 1
        progress(done, total, f"nsnet2 at theta {theta}")
    if sounds:
        points = [(run.row["theta"], run.layers) for run in speech[: len(THETAS)]]
        for theta in more:
            points.append((theta, run_speech(sounds[0], theta, config).layers))
            done += 1
            progress(done, total, f"cost of state at theta {theta}")
    state = (gru_rows(sorted(points, key=lambda point: point[0])) if points else []) + cnn_rows(
        cnn_clip(), CNN_STEPS
    )
    progress(total, total, "cost of state")
    return DeltaStudy(config, edgedrnn, eyeriss, speech, state, dal, tuple(notes))


def _state_line(row: dict[str, Any]) -> str:
    where = (
        f"  {row['workload']:9} weights {row['weights']:4} state {row['state']:4} "
        f"over {row['dense']:5}: "
    )
    if row["share"] is None:
        return where + "at no point"
    if not row["between"]:
        return where + "at every point"
    low, high = row["between"]
    return where + f"above {row['share']:.3f} of the products, between points {high} and {low}"


def _dal_lines(dal: dict[str, Any]) -> list[str]:
    """The recorded study and, of another task, the published one."""
    words = ["delta activations, accuracy and share of multiplies skipped"]
    skipped = dal.get("operations_skipped", {})
    for name in ("baseline", "spatial", "dal") if dal else ():
        words.append(f"  ours      {name:8} {dal[f'accuracy_{name}']:.3f} {_share(skipped, name)}")
    for row in DAL_DENSITIES:
        share = _share(DAL_OPERATIONS, row["model"])
        words.append(f"  published {row['model']:8} {row['accuracy']:.3f} {share}")
    if dal:
        words.append(
            f"  ours: {dal['task']}; non-zeros spatial / temporal {dal['density_ratio']:.2f}"
        )
    words.append("  published: ResNet-50 on UCF101, almost 3x fewer non-zeros")
    return words


def _share(of: dict[str, float], name: str) -> str:
    return f"{of[name]:.1%}" if name in of else ""
