"""sala-run: generates text, or token ids, with a compiled artifact."""

import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sala_compile.runtime.cli.answer_flags import answer_flags, answer_options
from sala_compile.runtime.common.option_types import BYTES, THREADS, TOKENS, VERIFY_KEY
from sala_compile.runtime.common.process import run_command
from sala_compile.runtime.errors import RequestError, reported_as

if TYPE_CHECKING:
    from sala_compile.runtime.cli.prompt import Ask


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.argument("artifact", metavar="NAME.sala", type=click.Path(path_type=Path))
@click.option("--prompt", metavar="TEXT", help="Continue TEXT.")
@click.option(
    "--prompt-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Continue the text of FILE, - for standard input or a pipe.",
)
@click.option("--ids", metavar="IDS", help="Continue token ids such as 1,17,5; prints token ids.")
@click.option(
    "--chat",
    is_flag=True,
    show_default=False,
    help="Use the checkpoint's chat template: answer the prompt, or without one talk.",
)
@click.option("--system", metavar="TEXT", help="System message that opens the chat.")
@click.option("--template", metavar="NAME", help="The chat template of that name.")
@click.option(
    "--template-arg",
    multiple=True,
    metavar="NAME=JSON",
    show_default=False,
    help="Give the chat template a variable, such as enable_thinking=false; may be repeated.",
)
@click.option(
    "--tools",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Give the chat template the functions in FILE, a JSON list of their schemas.",
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Continue the text whose state --save-state wrote; a prompt goes after it.",
)
@click.option(
    "--save-state",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read the prompt, write the state after it to FILE, give no answer.",
)
@answer_flags
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
    "--speculate",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Draft up to N tokens from what the text repeats and verify them in one step: the same "
    "answer, sooner. There is a recurrent state in memory for each.",
)
@click.option(
    "--draft",
    type=click.Path(path_type=Path),
    metavar="SMALL.sala",
    help="A smaller model with the same tokenizer, which drafts too; with --speculate.",
)
@VERIFY_KEY
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

    A chat keeps its state from turn to turn. Where its messages and an answer (--max-tokens, but a
    quarter of the context at most) no longer fit the context, the oldest turns after the system
    message are forgotten until three quarters of the context suffice, and a line says so.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that is not UTF-8 shows "?"
    with reported_as("sala-run"):
        _run(options)


def main() -> None:
    """Entry point of the console script."""
    run_command(command, "sala-run")


def _run(options: dict[str, Any]) -> None:
    from sala_compile.runtime.cli.prompt import Ask

    request = Ask(
        text=_text(options),
        ids=options["ids"],
        chat=options["chat"],
        system=options["system"],
        continues=options["state"] is not None,
    )
    _check(request, options)
    from sala_compile.runtime.cli.conversation import TemplateChoice

    template = TemplateChoice.of(options["template"], options["template_arg"], options["tools"])

    from sala_compile.runtime.cli.session import (
        Session,  # the loader takes a while, --help should not
    )

    session = Session(request, options, template)
    if options["save_state"] is not None:
        sys.exit(session.save(options["save_state"]))
    sys.exit(session.talk() if request.interactive else session.answer())


def _check(request: "Ask", options: dict[str, Any]) -> None:
    """Refuse options that contradict each other, or have no meaning, before the model is loaded."""
    if request.interactive and options["save_state"] is not None:
        raise RequestError("--save-state needs a prompt", fix="give --prompt or --prompt-file")
    if request.interactive and options["as_json"]:
        raise RequestError("--json needs a prompt", fix="give --prompt or --prompt-file")
    if request.ids is not None and options["stop"]:
        raise RequestError("--stop looks for text, --ids gives none", fix="give only one of them")
    for name in ("template", "template_arg", "tools"):
        if options[name] and not request.chat:
            flag = name.replace("_", "-")
            raise RequestError(f"--{flag} is for the chat template", fix="give --chat as well")
    if options["save_state"] is not None:
        from sala_compile.runtime.state.state_file import check_state_output

        check_state_output(options["save_state"])
    from sala_compile.runtime.generation.answer_options import generation_options

    given = answer_options(options)
    generation_options(
        **{name: value for name, value in given.items() if name not in ("defaults", "end_tokens")}
    )


def _text(options: dict[str, Any]) -> str | None:
    """The text given directly or in a file."""
    path = options["prompt_file"]
    if options["prompt"] is not None and path is not None:
        raise RequestError("--prompt and --prompt-file exclude each other", fix="give only one")
    if path is None:
        return options["prompt"]
    from sala_compile.runtime.cli.prompt_file import default_context, read_prompt

    return read_prompt(path, options["context"] or default_context(options["artifact"]))
