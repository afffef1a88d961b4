"""sala-tune: searches the schedules of a compiled model's kernels on this machine."""

import sys
from pathlib import Path
from typing import Any

import click

from sala_compile.runtime.common.option_types import THREADS, TOKENS
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.errors import RequestError, reported_as

_PATH = click.Path(path_type=Path)


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=_PATH)
@click.option(
    "-o",
    "--output",
    type=_PATH,
    metavar="FILE.json",
    help="The tuning file; its library is next to it.  [default: NAME.tuning.json]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    help="About how long to search; what is not finished then goes on with the next call.",
)
@click.option(
    "--threads",
    type=THREADS,
    help="Threads of the kernels, eight for each CPU at most.  [default: the CPUs of this process]",
)
@click.option(
    "--length",
    type=TOKENS,
    help="Tokens of the text after which kernels are tried.  [default: two chunks]",
)
@click.option("--target", help="One of the artifact's.  [default: the best for this processor]")
@click.option(
    "--again", is_flag=True, show_default=False, help="Forget what the tuning file has already."
)
@click.option(
    "--json", "as_json", is_flag=True, show_default=False, help="Print one JSON document."
)
@click.version_option(package_name="sala-compile", prog_name="sala-tune")
def command(as_json: bool, **options: Any) -> None:
    """Search faster schedules for the kernels of the compiled model NAME.sala.

    Every candidate is compiled, its results are compared with the default's, and both are timed
    in turn on operands of the running model, in a process of its own; a sample counts only if our
    threads did not wait for a CPU. The best schedule of each kernel is written to the tuning file
    as soon as it is found, so that Ctrl-C loses one kernel at most. At the end a library with all
    of them is written next to it.

    Use it with sala_compile.load(..., tuning=FILE) for this artifact, or with sala-compile --tuning
    FILE for any whose kernels have the same constants. Exit code 2 means that the request or the
    artifact is at fault.
    """
    with reported_as("sala-tune"):
        _tune(options, as_json)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-tune")


def _tune(options: dict[str, Any], as_json: bool) -> None:
    from sala_compile.codegen.cli.tune_report import Board, document, print_report
    from sala_compile.codegen.targets.link import find_linker
    from sala_compile.codegen.tuning.measurer import TrialProcess
    from sala_compile.codegen.tuning.tuner import Tuner

    find_linker()
    job = _job(options)
    measurer = TrialProcess(job.artifact.directory, job.target, job.threads, job.length)
    try:
        with Board() as board:
            tuner = Tuner(job, measurer)
            board.begin("reading a text")
            works = tuner.works()
            left = tuner.left(works)
            board.found(len(works), len(left))
            while left:
                work = left[0]
                rest = sum(each.share for each in left)
                board.begin(work.kernel.symbol)
                if tuner.tune(work, rest, board.tell) is not None:
                    board.done()
                left = left[1:]
            if tuner.tuning.library is None:
                board.begin("compiling the library")
                tuner.finish()
    finally:
        measurer.close()
    report = document(job, tuner.tuning, works)
    if as_json:
        import json

        json.dump(report, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        print_report(report)


def _job(options: dict[str, Any]) -> Any:
    from sala_compile.codegen.tuning.tuner import TuningJob
    from sala_compile.runtime.artifact import open_artifact
    from sala_compile.runtime.artifact.tuning import SUFFIX

    artifact = open_artifact(options["artifact"])
    target = options["target"] or _own_target(artifact)
    artifact.target(target)
    output = options["output"] or options["artifact"].absolute().with_suffix(SUFFIX)
    return TuningJob(
        artifact=artifact,
        target=target,
        output=output,
        threads=options["threads"] or available_cpus(),
        length=options["length"] or 2 * artifact.manifest.chunk,
        seconds=options["seconds"],
        again=options["again"],
    )


def _own_target(artifact: Any) -> str:
    """The artifact's only CPU target, or the one for this very machine."""
    names = sorted(name for name in artifact.program.targets if name.partition(":")[0] == "cpu")
    if len(names) == 1 or "cpu" in names:
        return "cpu" if "cpu" in names else names[0]
    raise RequestError(
        f"the artifact has {len(names)} CPU targets",
        expected=f"--target with one of {', '.join(names)}",
    )
