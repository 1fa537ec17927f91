"""The command line: words, tables and exit codes; every command's work is elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hwsim.errors import UserError

__all__ = ["app", "main"]

app = typer.Typer(
    name="hwsim",
    help="Simulate a network on a sparse accelerator, generate its Verilog, prove them equal, "
    "sweep the design space.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Accel = Annotated[str, typer.Argument(help="Preset name or YAML file.", metavar="ACCEL")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change a field; may be repeated."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write results here.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        import hwsim

        print(hwsim.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options before the command."""


@app.command("list")
def list_command(json: Json = False) -> None:
    """Workloads, accelerators and what each can do."""
    from hwsim.config import load_config, preset_names
    from hwsim.engine_clip import CLIPS
    from hwsim.models.zoo import ZOO
    from hwsim.workloads_stream import STREAMS

    data: dict[str, Any] = {
        "workloads": {name: entry.description for name, entry in ZOO.items()} | STREAMS | CLIPS,
        "accelerators": {name: load_config(name).kind for name in preset_names()},
        "rtl": ["sat", "spgemm", "delta"],
    }
    if json:
        _print_json(data)
        return
    print("workloads (or any .onnx file):")
    for name, text in data["workloads"].items():
        print(f"  {name:14} {text}")
    print("accelerators (or a YAML file):")
    for name, kind in data["accelerators"].items():
        what = "simulate, sweep"
        if kind in data["rtl"]:
            what += ", generate, verify, synth"
        print(f"  {name:14} {what}")


@app.command()
def simulate(
    workload: Annotated[
        str,
        typer.Argument(
            help="Zoo name or .onnx file; of a sparse product a .mtx or .mtx.gz file, "
            "rmat:scale=14,edges=262144,seed=1, gcn:... or sparse-dnn:...; of a stream its name.",
            metavar="WORKLOAD",
        ),
    ],
    accelerator: Annotated[
        str, typer.Option("--accelerator", "-a", metavar="ACCEL", help="Preset or YAML file.")
    ],
    overrides: Overrides = None,
    phase: Annotated[str, typer.Option(help="inference, or training: one step.")] = "inference",
    batch: Annotated[int, typer.Option(help="Images, sequences or frames at once.")] = 1,
    dim: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=SIZE", help="Size of a free dimension of an .onnx file."),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the zoo's weights and of generated matrices.")
    ] = 0,
    source: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="Sound, frames or video of a stream."),
    ] = None,
    out: Out = None,
    figures: Annotated[bool, typer.Option(help="Write figures with -o.")] = True,
    json: Json = False,
) -> None:
    """Simulate a network or a sparse product: cycles and their causes, traffic, energy."""
    from hwsim.api import simulate as run
    from hwsim.terminal import progress

    with progress("simulating") as tick:
        result = run(
            workload,
            accelerator,
            overrides=overrides or (),
            phase=phase,
            batch=batch,
            seed=seed,
            dims=_sizes(dim or []),
            source=source,
            progress=tick,
        )
    if out is not None:
        result.write(out, figures=figures)
    if json:
        print(result.to_json())
        return
    _result_table(result)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if out is not None:
        print(f"results are in {out}", file=sys.stderr)


@app.command()
def generate(
    accelerator: Accel,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Write files here.")],
    overrides: Overrides = None,
    training: Annotated[
        bool,
        typer.Option(
            "--training",
            help="The whole training engine: array, selectors, update engine, sequencer.",
        ),
    ] = False,
) -> None:
    """Write Verilog, constraints, lint waivers, the configuration and a manifest."""
    from hwsim.config import load_config
    from hwsim.design import write_design

    config = load_config(accelerator, overrides or ())
    for path in write_design(config, out, training=training):
        print(path)


@app.command()
def verify(
    accelerator: Accel,
    overrides: Overrides = None,
    cases: Annotated[int, typer.Option(help="How many random cases.")] = 100,
    seed: Annotated[int, typer.Option(help="Makes the same cases again.")] = 0,
    case: Annotated[int | None, typer.Option(help="Run just this case of the run.")] = None,
    waves: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With --case: write a VCD waveform.")
    ] = None,
    blocks: Annotated[
        bool, typer.Option("--blocks", help="The selectors, update engine and post unit instead.")
    ] = False,
    train: Annotated[
        str | None,
        typer.Option(metavar="NETWORK", help="Training steps of mlp or cnn in the RTL instead."),
    ] = None,
    steps: Annotated[int, typer.Option(help="With --train: training steps.")] = 3,
    batch: Annotated[int, typer.Option(help="With --train: images a step.")] = 4,
    json: Json = False,
) -> None:
    """Run random cases through the RTL: values and cycles against the golden model."""
    from hwsim.config import load_config
    from hwsim.verify_any import verify as run

    if train is not None or blocks:
        _verify_more(
            load_config(accelerator, overrides or ()), cases, seed, train, steps, batch, json
        )
        return
    report = run(
        load_config(accelerator, overrides or ()),
        cases=cases,
        seed=seed,
        only=case,
        waves=waves,
        progress=lambda message: print(message, file=sys.stderr),
    )
    if json:
        from dataclasses import asdict

        _print_json(asdict(report))
    else:
        print(f"{report.passed} of {report.cases} cases: {report.compared} equal")
        print(f"{report.rtl_cycles:,} RTL cycles, {report.result_words:,} result words")
        for line in report.designs:
            print(f"  {line}")
        print(f"build {report.seconds_build:.1f} s, run {report.seconds_run:.1f} s")
    for failure in report.failures[:10]:
        print(
            f"case {failure.number} failed on {failure.config}: {failure.case}\n"
            f"  {failure.what}\n"
            f"  again: hwsim verify {accelerator} "
            + " ".join(f"-s {o}" for o in overrides or ())
            + f" --cases {cases} --seed {seed} --case {failure.number} --waves case.vcd",
            file=sys.stderr,
        )
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def synth(
    accelerator: Accel,
    target: Annotated[str, typer.Option(help="ecp5, xcup or generic.", metavar="TARGET")],
    overrides: Overrides = None,
    block: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="uspe, stce, sore, rank, wuve or post; repeatable."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the placer's start.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds at most for a run of a tool.")] = 1800,
    out: Out = None,
    json: Json = False,
) -> None:
    """Synthesize the design's blocks: resources, and fmax where place-and-route exists."""
    from hwsim.config import load_config
    from hwsim.synth import synth as run
    from hwsim.synth import synth_table

    report = run(
        load_config(accelerator, overrides or ()),
        target,
        blocks=block or (),
        seed=seed,
        timeout_s=timeout,
        out=out,
        progress=lambda message: print(message, file=sys.stderr),
    )
    if json:
        print(report.to_json(), end="")
    else:
        synth_table(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def sweep(
    spec: Annotated[Path, typer.Argument(help="Sweep specification.", metavar="SPEC.yaml")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Write results here.")],
    workers: Annotated[int, typer.Option(help="Processes; 0 is one for every core.")] = 0,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted sweep.")] = False,
    json: Json = False,
) -> None:
    """Run every point of a grid over any fields, durably, and plot the Pareto front."""
    from hwsim.sweep_run import run_sweep, summarise
    from hwsim.terminal import progress

    with progress("sweeping") as tick:
        frame = run_sweep(spec, out, workers=workers, resume=resume, progress=tick)
    summary = summarise(frame)
    if json:
        _print_json(summary)
        return
    print(f"{summary['points']} points, {summary['failed']} failed, in {out}")
    for row in summary["pareto"]:
        print("  " + ", ".join(f"{key}={value}" for key, value in row.items()))


@app.command()
def reproduce(
    headline: Annotated[str, typer.Argument(help="sat, smash or delta.", metavar="HEADLINE")],
    out: Out = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Real inputs that are not in the package.")
    ] = None,
    json: Json = False,
) -> None:
    """A published headline beside ours, the gap explained; with -o also what it depends on."""
    from hwsim.reproduce import reproduce as run
    from hwsim.terminal import progress

    with progress("reproducing") as tick:
        result = run(headline, out, data=data, progress=tick)
    if json:
        _print_json(result.summary)
        return
    for line in result.lines():
        print(line)
    if out is not None:
        print(f"results are in {out}", file=sys.stderr)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A folder of results.", metavar="DIR")],
) -> None:
    """Make figures and one self-contained HTML page from a folder of results."""
    from hwsim.html import write_report

    print(write_report(folder))


def main() -> None:
    """Entry point: a user error is one sentence on stderr and exit status 2."""
    try:
        app()
    except UserError as error:
        print(f"hwsim: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("hwsim: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def _result_table(result: Any) -> None:
    from hwsim.config import SparseConfig, StreamConfig

    if isinstance(result.config, StreamConfig):
        from hwsim.delta_terminal import delta_table

        delta_table(result)
    elif isinstance(result.config, SparseConfig):
        from hwsim.spgemm_terminal import spgemm_table

        spgemm_table(result)
    else:
        from hwsim.terminal import result_table

        result_table(result)


def _verify_more(
    config: Any, cases: int, seed: int, train: str | None, steps: int, batch: int, json: bool
) -> None:
    """The blocks around the array, or whole training steps."""
    from dataclasses import asdict

    def tell(message: str) -> None:
        print(message, file=sys.stderr)

    if train is not None:
        from hwsim.verify_training import verify_training

        report = verify_training(config, train, steps=steps, batch=batch, seed=seed, progress=tell)
        if json:
            _print_json(asdict(report))
        elif report.ok:
            print(
                f"{report.steps} training steps of {report.network}: weights, momenta, masks and "
                "cycles equal"
            )
            losses = ", ".join(f"{loss:.4f}" for loss in report.losses)
            print(
                f"{report.commands} commands, {report.cycles:,} RTL cycles, "
                f"{report.values:,} words compared, losses {losses}"
            )
            print(f"build {report.seconds_build:.1f} s, run {report.seconds_run:.1f} s")
        if not report.ok:
            print(report.difference, file=sys.stderr)
            raise typer.Exit(1)
        return
    from hwsim.verify_blocks import verify_blocks

    outcomes = verify_blocks(config, cases, seed, tell)
    passed = sum(o.ok for o in outcomes)
    names = sorted({o.block for o in outcomes})
    if json:
        of = {name: [o for o in outcomes if o.block == name] for name in names}
        _print_json(
            {
                "cases": len(outcomes),
                "passed": passed,
                "blocks": {
                    name: {"cases": len(of[name]), "passed": sum(o.ok for o in of[name])}
                    for name in names
                },
            }
        )
    else:
        print(f"{passed} of {len(outcomes)} cases: values and cycles equal")
        for name in names:
            cycles = sum(o.rtl_cycles for o in outcomes if o.block == name)
            print(
                f"  {name}: {sum(o.block == name for o in outcomes)} cases, {cycles:,} RTL cycles"
            )
    for outcome in [o for o in outcomes if not o.ok][:10]:
        print(f"{outcome.block}: {outcome.case}\n  {outcome.detail}", file=sys.stderr)
    if passed != len(outcomes):
        raise typer.Exit(1)


def _sizes(entries: list[str]) -> dict[str, int]:
    sizes = {}
    for entry in entries:
        name, _, size = entry.rpartition("=")
        if not name or not size.isdigit() or int(size) < 1:
            raise UserError(f"--dim must read NAME=SIZE with a size of at least 1, got {entry!r}")
        sizes[name] = int(size)
    return sizes


def _print_json(data: Any) -> None:
    import json as encoder

    print(encoder.dumps(data, indent=2, allow_nan=False))
