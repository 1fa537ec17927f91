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

_FRONT_ROWS = 20
"""Lines of a front that a sweep prints; one of four objectives can have hundreds."""

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
    board: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The design for a board, with its pins: ulx3s."),
    ] = None,
    bitstream: Annotated[
        bool, typer.Option("--bitstream", help="With --board: place, route and pack it too.")
    ] = False,
    seed: Annotated[int, typer.Option(help="With --bitstream: of the placer's start.")] = 1,
    timeout: Annotated[
        float, typer.Option(help="With --bitstream: seconds at most for a run of a tool.")
    ] = 1800,
) -> None:
    """Write Verilog of the core and its AXI top, register map, constraints, packaging, manifest."""
    from hwsim.config import load_config
    from hwsim.design import write_design

    if board is not None:
        if training:
            raise UserError("--board takes the inference array: leave out --training")
        from hwsim.board import board_config, write_board
        from hwsim.rtl.synth import ToolFailure

        try:
            paths = write_board(
                board_config(board, tuple(overrides or ()), accelerator),
                out,
                board=board,
                bitstream=bitstream,
                seed=seed,
                timeout_s=timeout,
                progress=lambda message: print(message, file=sys.stderr),
            )
        except ToolFailure as failure:
            print(f"hwsim: {failure}", file=sys.stderr)
            raise typer.Exit(1) from None
    elif bitstream:
        raise UserError("--bitstream needs --board: its part and pins make a bitstream")
    else:
        paths = write_design(load_config(accelerator, overrides or ()), out, training=training)
    for path in paths:
        print(path)


@app.command()
def verify(
    accelerator: Accel,
    overrides: Overrides = None,
    cases: Annotated[
        int | None,
        typer.Option(help="How many random cases; 100 if not given, 8 with --axi."),
    ] = None,
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
    axi: Annotated[
        bool,
        typer.Option(
            "--axi",
            help="Whole layers through the FPGA-ready top instead: registers, descriptors, DMA.",
        ),
    ] = False,
    steps: Annotated[int, typer.Option(help="With --train: training steps.")] = 3,
    batch: Annotated[int, typer.Option(help="With --train: images a step.")] = 4,
    json: Json = False,
) -> None:
    """Run random cases through the RTL: values and cycles against the golden model."""
    from hwsim import cli_verify
    from hwsim.config import load_config

    config = load_config(accelerator, overrides or ())
    if axi:
        ok = cli_verify.axi(config, 8 if cases is None else cases, seed, json)
    elif train is not None:
        ok = cli_verify.training(config, train, steps, batch, seed, json)
    elif blocks:
        ok = cli_verify.blocks(config, 100 if cases is None else cases, seed, json)
    else:
        again = " ".join([f"hwsim verify {accelerator}", *(f"-s {o}" for o in overrides or ())])
        ok = cli_verify.cores(
            config, 100 if cases is None else cases, seed, case, waves, again, json
        )
    if not ok:
        raise typer.Exit(1)


@app.command()
def synth(
    accelerator: Accel,
    target: Annotated[
        str, typer.Option(help="ecp5, xilinx (xcup), ice40 or generic.", metavar="T")
    ],
    overrides: Overrides = None,
    block: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="uspe, stce, sore, rank, wuve or post of sat, axi (the generated top) of any; a "
            "wrong name lists those of another engine; repeatable.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the placer's start.")] = 1,
    seeds: Annotated[
        int, typer.Option(help="Placements, with seed and those that follow; the median counts.")
    ] = 1,
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
        seeds=seeds,
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
    spec: Annotated[
        Path | None, typer.Argument(help="Sweep specification.", metavar="SPEC.yaml")
    ] = None,
    out: Out = None,
    workers: Annotated[int, typer.Option(help="Processes; 0 is one for every core.")] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run on this Dask scheduler, as tcp://HOST:PORT."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted sweep.")] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of specifications and end.")
    ] = False,
    figures: Annotated[bool, typer.Option(help="Write the report and its figures.")] = True,
    json: Json = False,
) -> None:
    """Run the points of a design space, durably, and show its Pareto front."""
    from hwsim.terminal import progress

    if schema:
        from hwsim.sweep_spec import spec_schema

        _print_json(spec_schema())
        return
    if spec is None or out is None:
        raise UserError("a sweep needs SPEC.yaml and -o DIR")
    from hwsim.sweep_run import complaint, run_sweep, summarise

    with progress("sweeping") as tick:
        frame = run_sweep(
            *(spec, out),
            workers=workers,
            scheduler=scheduler,
            resume=resume,
            progress=tick,
            figures=figures,
        )
    summary = summarise(frame)
    if json:
        _print_json(summary)
    else:
        _print_sweep(summary, out)
        if figures:
            print(f"interactive report: {out / 'report.html'}")
    if text := complaint(frame):
        raise UserError(text)


def _print_sweep(summary: dict[str, Any], out: Path) -> None:
    left_out = f", {summary['infeasible']} infeasible" if summary["infeasible"] else ""
    print(f"{summary['points']} points, {summary['failed']} failed{left_out}, in {out}")
    front = summary["pareto"]
    for row in front[:_FRONT_ROWS]:
        print("  " + ", ".join(f"{key}={value}" for key, value in row.items()))
    if len(front) > _FRONT_ROWS:
        print(
            f"  and {len(front) - _FRONT_ROWS} more of the front: pareto in {out / 'results.csv'}"
        )


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
