"""`python -m sala_compile.runtime.serving.batch`: answers a file of requests."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.common.option_types import BYTES, PLACE, THREADS, TOKENS
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import RequestError, reported_as
from sala_compile.runtime.serving.batch.batch_lines import BatchLine, batch_lines, check_ids
from sala_compile.runtime.serving.batch.batch_output import BatchOutput
from sala_compile.runtime.serving.batch.line_answerer import LineAnswerer

_NAME = "python -m sala_compile.runtime.serving.batch"
_PATH = click.Path(path_type=Path)
_FIXED = {"sequences": None, "chunk": None, "capacity": None, "max_stall": 3600.0, "queue": 4096}
"""Nobody waits for a stream, so that prompts are read in parts as large as they can be."""


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--input", "source", type=_PATH, required=True, metavar="FILE", help="Requests, one a line."
)
@click.option(
    "--output",
    type=_PATH,
    required=True,
    metavar="DIR",
    help="Where output.jsonl and errors.jsonl are written. Given again, it goes on where it ended.",
)
@click.option("--model", type=_PATH, required=True, metavar="NAME.sala", help="The artifact.")
@click.option("--model-name", metavar="ID", help="Id of the model in requests.  [default: NAME]")
@click.option(
    "--context", type=TOKENS, help="Longest prompt and answer.  [default: the artifact's]"
)
@click.option("--batch", type=click.IntRange(1), default=8, help="Answers computed at a time.")
@click.option("--memory", type=BYTES, help="Memory of the device that may be taken, such as 8GiB.")
@click.option("--prefix-cache", type=BYTES, default="1GiB", help="Memory for common beginnings.")
@click.option(
    "--prefix-dir",
    type=PLACE,
    metavar="DIR",
    help="Keep such texts in DIR, or at a URL, as well.",
)
@click.option("--prefix-dir-size", type=BYTES, default="16GiB", help="Most bytes in DIR.")
@click.option("--speculate", type=click.IntRange(min=0), default=0, help="As of sala-serve.")
@click.option("--threads", type=THREADS, help="Threads of the kernels.  [default: the CPUs]")
@click.option("--device", metavar="DEVICE", help="As of sala-serve.  [default: cpu, if it can]")
@click.option(
    "--replicas",
    type=click.IntRange(1),
    help="Answer with so many models of a Ray cluster, by Ray Data; needs the extra [ray]. "
    "[default: one model, in this process]",
)
@click.option(
    "--cpus", type=click.FloatRange(min=0.1), default=1.0, help="What Ray reserves for a replica."
)
def command(**options: Any) -> None:
    """Answer the requests of a file in OpenAI's batch format.

    Each line has `custom_id`, `method`, `url` and `body`. Each gets one line in output.jsonl, or in
    errors.jsonl if it fails. The exit code is 0 when every request has its line.
    """
    with reported_as(_NAME):
        raise SystemExit(answer_file(options | _FIXED))


def answer_file(options: dict[str, Any]) -> int:
    """Answer what has no answer yet; the exit code."""
    console = Console(stderr=True)
    total, digest = check_ids(options["source"])
    manifest = open_artifact(options["model"], hash_weights=False).manifest
    about = {"requests": digest, "model": manifest.digest}
    with ExitStack() as undo:
        output = undo.enter_context(closing(BatchOutput(options["output"], about)))
        left = [*_left(options["source"], output)]
        columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn())
        if left:
            bar = undo.enter_context(Progress(*columns, TimeRemainingColumn(), console=console))
            task = bar.add_task("answers", total=total, completed=total - len(left))
            for line in _answers(options, left, undo):
                if output.write(line):
                    bar.advance(task)
        console.print(
            f"{len(output.done)} of {total} requests done, {output.failures} of them failed: "
            f"{options['output']}",
            markup=False,
            soft_wrap=True,
        )
        return 0 if len(output.done) == total else 1


def _left(source: Path, output: BatchOutput) -> Iterator[BatchLine]:
    """The requests without an answer."""
    for number, text in batch_lines(source):
        line = BatchLine.of(text, number)
        if line.custom_id not in output.done:
            yield line


def _answers(
    options: dict[str, Any], left: list[BatchLine], undo: ExitStack
) -> Iterator[dict[str, Any]]:
    if options["replicas"] is None:
        answerer = LineAnswerer(options["model"], options, options["model_name"])
        undo.callback(answerer.close)
        return answerer.answers(left)
    try:
        from sala_compile.runtime.serving.batch.ray_pipeline import pipeline_answers
    except ModuleNotFoundError as missing:
        raise RequestError(
            f"batches on several replicas need a package that is not installed: {missing.name}",
            expected="the extra [ray]",
            fix="pip install 'sala-compile[ray]', or leave --replicas out",
        ) from None

    return pipeline_answers(left, options)


def main() -> None:
    """Entry point of the module."""
    run_command(command, _NAME)


if __name__ == "__main__":
    main()
