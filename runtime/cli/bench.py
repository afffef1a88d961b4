"""sala-bench: how fast a compiled model runs here, compared with what this machine can do."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.cli.common import output, print_json
from sala_compile.runtime.cli.pictures import check_picture, write_picture
from sala_compile.runtime.common.option_types import THREADS, TOKENS, VERIFY_KEY, Several
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import reported_as

if TYPE_CHECKING:
    from sala_compile.runtime.bench.measure import Request

_PATH = click.Path(path_type=Path)
_PROFILE = OutputRule(what="the file")


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=_PATH)
@click.option(
    "--lengths",
    type=Several(TOKENS),
    default="512,4K",
    help="Prompts of so many tokens, and decode after them.",
)
@click.option(
    "--batch",
    "batches",
    type=Several(click.IntRange(min=1, max=64)),
    default="1,4",
    metavar="NUMBER,...",
    help="Sequences that decode together.",
)
@click.option(
    "--threads",
    type=THREADS,
    help="Threads of the kernels, eight for each CPU at most.  [default: the CPUs of this process]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    help="About how long to measure; every prompt is read once at least.",
)
@click.option("--target", help="One of the artifact's.  [default: the best for this processor]")
@click.option(
    "--profile",
    type=_PATH,
    metavar="TRACE.json",
    help="Write every kernel call at the longest length as a trace that ui.perfetto.dev opens, "
    "and print the kernels by their time.",
)
@click.option(
    "--plot",
    type=_PATH,
    metavar="FILE.svg",
    help="Draw the rates compared with the ceilings; also .png and .pdf. Needs the extra "
    "sala-compile[plot].",
)
@VERIFY_KEY
@click.option(
    "--json", "as_json", is_flag=True, show_default=False, help="Print one JSON document."
)
@click.version_option(package_name="sala-compile", prog_name="sala-bench")
def command(**options: Any) -> None:
    """Measure prefill and decode of the compiled model NAME.sala.

    Each rate comes with the part that it reaches of the machine's ceilings, measured in the
    same run by kernels in the artifact: of reading memory with all threads, and of the arithmetic
    of the artifact's element type. Bytes and operations are those that the plan says a step must
    move and compute. A sample counts only if our threads did not wait for a CPU. Exit code 2
    means that the request or the artifact is at fault.
    """
    with reported_as("sala-bench"):
        _bench(options)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-bench")


def _bench(options: dict[str, Any]) -> None:
    from sala_compile.runtime.bench.measure import (
        measured,  # loads the kernel interface, --help should not
    )
    from sala_compile.runtime.bench.profile import Profile
    from sala_compile.runtime.cli import bench_report as report
    from sala_compile.runtime.cli.rates_picture import rates_figure
    from sala_compile.runtime.common.stage_bars import StageBars

    if options["profile"] is not None:
        _PROFILE.check(options["profile"])
    if options["plot"] is not None:
        check_picture(options["plot"])
    with StageBars(measuring=True) as bars, measured(_request(options), bars) as bench:
        document = report.bench_document(bench)
        profile = Profile(bench.model.artifact.program, bench.target, bench.costs, bench.recordings)
    if options["profile"] is not None:
        document["profile"] = report.profile_document(profile, bench.ceilings)
        trace = report.compact(profile.trace())
        _PROFILE.write(options["profile"], trace.encode())
    if options["plot"] is not None:
        write_picture(options["plot"], *rates_figure(document))
    if options["as_json"]:
        print_json(document)
        return
    console = output()
    for view in report.views(document):
        console.print(view)
    for name in ("profile", "plot"):
        if options[name] is not None:
            console.print(f"wrote {options[name]}", soft_wrap=True)


def _request(options: dict[str, Any]) -> "Request":
    from sala_compile.runtime.bench.measure import Request

    return Request(
        artifact=options["artifact"],
        verify_key=options["verify_key"],
        lengths=options["lengths"],
        batches=options["batches"],
        threads=options["threads"],
        seconds=options["seconds"],
        target=options["target"],
        profile=options["profile"] is not None,
    )
