"""sala-serve: answers OpenAI's requests with a compiled artifact."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from sala_compile.runtime.common.option_types import (
    BYTES,
    PLACE,
    THREADS,
    TOKENS,
    VERIFY_KEY,
    Seconds,
)
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import RequestError, reported_as

_PATH = click.Path(path_type=Path)
_EXTRA = ("fastapi", "uvicorn", "httptools", "sse_starlette", "prometheus_client", "llguidance")


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=_PATH)
@click.option("--host", default="127.0.0.1", help="Address to listen at; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, help="0 takes a free one.")
@click.option(
    "--api-key-file",
    type=_PATH,
    metavar="FILE",
    help="Answer only to those who send one of the keys in FILE, one a line.",
)
@click.option("--model-name", metavar="ID", help="Id of the model.  [default: NAME]")
@click.option(
    "--context",
    type=TOKENS,
    help="Longest prompt and answer; 1K is 1024.  [default: the artifact's]",
)
@click.option(
    "--batch", type=click.IntRange(1), default=8, help="Answers that are computed at a time."
)
@click.option(
    "--sequences",
    type=click.IntRange(1),
    help="States in memory; those beyond the batch are kept for later.  [default: the batch]",
)
@click.option("--chunk", type=TOKENS, help="Most tokens of a step.  [default: the artifact's]")
@click.option(
    "--capacity",
    type=TOKENS,
    help="Tokens that all running requests hold together, the context at least.  "
    "[default: as many as fit in --memory, else the context of a whole batch]",
)
@click.option(
    "--speculate",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Verify up to N tokens a step, in all answers, drafted from what texts repeat: the same "
    "answers, sooner. There is a recurrent state in memory for each.",
)
@click.option("--memory", type=BYTES, help="Memory of the device that may be taken, such as 8GiB.")
@click.option(
    "--prefix-cache",
    type=BYTES,
    default="1GiB",
    help="Memory, beyond the rest, for texts that later requests begin with.",
)
@click.option("--no-prefix-cache", is_flag=True, help="Keep no texts: read every prompt whole.")
@click.option(
    "--prefix-dir",
    type=PLACE,
    metavar="DIR",
    help="Keep such texts in DIR as well, from which a restarted server continues, and what "
    "/v1/states saves; not with --no-prefix-cache. A URL such as s3://bucket/folder (the extra "
    "[ray]) may be that of several servers.",
)
@click.option("--prefix-dir-size", type=BYTES, default="16GiB", help="Most bytes in DIR.")
@click.option(
    "--max-stall",
    type=Seconds(min=0.001, max=3600),
    default=0.25,
    metavar="SECONDS",
    help="Longest wait of a running answer for somebody's prompt, such as 250ms.",
)
@click.option("--queue", type=click.IntRange(1), default=256, help="Most requests that wait.")
@click.option(
    "--grace",
    type=Seconds(min=0, max=86400),
    default=30.0,
    metavar="SECONDS",
    help="How long running answers may take to end after Ctrl-C or SIGTERM; a second Ctrl-C "
    "ends them.",
)
@click.option(
    "--log-prompts",
    is_flag=True,
    show_default=False,
    help="Write prompts to the log, which has none otherwise.",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda or the number of a GPU, cuda:1.  "
    "[default: cpu, if the artifact has code for one]",
)
@click.option("--target", help="One of the artifact's.  [default: the best for the device]")
@click.option("--tuning", type=_PATH, metavar="FILE", help="What sala-tune wrote for the artifact.")
@click.option(
    "--threads",
    type=THREADS,
    help="Threads of the kernels, eight for each CPU at most.  [default: the CPUs of this process]",
)
@VERIFY_KEY
@click.version_option(package_name="sala-compile", prog_name="sala-serve")
def command(**options: Any) -> None:
    """Serve the compiled model NAME.sala to OpenAI's clients, and a chat page to browsers.

    The address of the API is http://HOST:PORT/v1. Without --api-key-file anybody who reaches the
    port may ask; only this machine does unless --host says otherwise. Ctrl-C lets running answers
    end, and the exit code is 0. Exit code 2 means that the options or the artifact are at fault.
    """
    with reported_as("sala-serve"):
        require_extra()
        from sala_compile.runtime.cli.serve_session import serve

        serve(options)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-serve")


def require_extra() -> None:
    """RequestError unless the packages of the extra are installed."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise RequestError(
            f"sala-serve needs packages that are not installed: {', '.join(missing)}",
            expected="the extra [serve]",
            fix="pip install 'sala-compile[serve]'",
        )
