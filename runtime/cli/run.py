"""sala-run: generates text, or token ids, with a compiled artifact."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from runtime.errors import RequestError, reported_as
from runtime.option_types import BYTES, THREADS, TOKENS

if TYPE_CHECKING:
    from runtime.generation import GenerationOptions


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="TEXT", help="Continue TEXT.")
@click.option(
    "--prompt-file",
    type=click.File("r", encoding="utf-8"),
    metavar="FILE",
    help="Continue the text of FILE, - for standard input.",
)
@click.option("--ids", metavar="IDS", help="Continue token ids such as 1,17,5; prints token ids.")
@click.option(
    "--chat",
    is_flag=True,
    show_default=False,
    help="Use the checkpoint's chat template: answer the prompt, or without one talk.",
)
@click.option("--system", metavar="TEXT", help="System message that opens the chat.")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Continue the text whose state --save-state wrote; a prompt goes behind it.",
)
@click.option(
    "--save-state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the prompt, write the state behind it to FILE, give no answer.",
)
@click.option("--max-tokens", type=TOKENS, default="256", help="Longest answer.")
@click.option("--temperature", type=float, default=0.0, help="0 takes the most likely token.")
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    help="Choose among the most likely tokens that make up this probability.",
)
@click.option("--top-k", type=int, default=0, help="Choose among so many tokens, 0 among all.")
@click.option(
    "--repetition-penalty",
    type=float,
    default=1.0,
    help="Above 1 makes tokens that were seen less likely.",
)
@click.option("--seed", type=int, default=0, help="Equal seeds give equal answers.")
@click.option(
    "--stop",
    multiple=True,
    metavar="TEXT",
    show_default=False,
    help="End the answer before TEXT; may be repeated.",
)
@click.option(
    "--ignore-eos", is_flag=True, show_default=False, help="Go on after the end of the sequence."
)
@click.option(
    "--context",
    type=TOKENS,
    help="Longest sequence, prompt and answer; 1K is 1024.  [default: the artifact's]",
)
@click.option("--memory", type=BYTES, help="Memory of the device that may be taken, such as 8GiB.")
@click.option(
    "--device",
    metavar="DEVICE",
    help="cpu, cuda or the number of a GPU, cuda:1.  "
    "[default: cpu, if the artifact has code for one]",
)
@click.option(
    "--threads",
    type=THREADS,
    help="Threads of the kernels, eight for each CPU at most.  [default: the CPUs of this process]",
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    show_default=False,
    help="Print one JSON document instead of the text.",
)
@click.version_option(package_name="sala-compile", prog_name="sala-run")
def command(**options: Any) -> None:
    """Generate with the compiled model NAME.sala.

    The answer is streamed to standard output, all else goes to standard error. Ctrl-C ends the
    answer. Exit code 2 means that the request or the artifact is at fault.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?"
    with reported_as("sala-run"):
        _run(options)


def main() -> None:
    """Entry point of the console script."""
    command(prog_name="sala-run")


def _run(options: dict[str, Any]) -> None:
    from runtime.cli.prompt import Ask

    ask = Ask(
        text=_text(options["prompt"], options["prompt_file"]),
        ids=options["ids"],
        chat=options["chat"],
        system=options["system"],
        continues=options["state"] is not None,
    )
    if ask.interactive and options["save_state"] is not None:
        raise RequestError("--save-state needs a prompt", fix="give --prompt or --prompt-file")
    if ask.interactive and options["as_json"]:
        raise RequestError("--json needs a prompt", fix="give --prompt or --prompt-file")
    if ask.ids is not None and options["stop"]:
        raise RequestError("--stop looks for text, --ids gives none", fix="give only one of them")
    generation = _generation_options(options)
    if options["save_state"] is not None:
        from runtime.state_file import check_state_output

        check_state_output(options["save_state"])

    from runtime.cli.session import Session  # the loader takes a while, --help should not

    session = Session(ask, options, generation)
    if options["save_state"] is not None:
        sys.exit(session.save(options["save_state"]))
    sys.exit(session.talk() if ask.interactive else session.answer())


def _generation_options(options: dict[str, Any]) -> "GenerationOptions":
    """The options that concern the answer."""
    from runtime.generation import GenerationOptions
    from runtime.sampling import SamplingOptions

    names = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")
    return GenerationOptions(
        max_new_tokens=options["max_tokens"],
        sampling=SamplingOptions(**{name: options[name] for name in names}),
        stop=tuple(options["stop"]),
        ignore_eos=options["ignore_eos"],
    )


def _text(prompt: str | None, file: IO[str] | None) -> str | None:
    """The text given directly or in a file."""
    if prompt is not None and file is not None:
        raise RequestError("--prompt and --prompt-file exclude each other", fix="give only one")
    if file is None:
        return prompt
    try:
        return file.read()
    except UnicodeDecodeError as error:
        raise RequestError(f"the prompt is not UTF-8: {error}", where=file.name) from None
