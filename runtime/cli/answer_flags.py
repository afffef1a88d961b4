"""The options of a command that concern the answer: how its tokens are chosen, where it ends."""

from collections.abc import Callable
from typing import Any, cast

import click

from sala_compile.runtime.common.option_types import TOKENS

_NAMES = {
    "max_tokens": "max_new_tokens",
    **{
        name: name
        for name in (
            *("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed"),
            *("presence_penalty", "frequency_penalty", "defaults", "end_tokens"),
        )
    },
}
"""The options that are passed on as they are, if the user gives them."""


class _Bias(click.ParamType):  # pyright: ignore[reportMissingTypeArgument]: generic from click 8.3 on
    """A token id and what is added to its logit."""

    name = "id=bias"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, float]:
        """The pair that `value` names."""
        if isinstance(value, tuple):
            return cast("tuple[int, float]", value)
        token, _, bias = value.partition("=")
        try:
            if not token.strip().isascii():
                raise ValueError
            return int(token), float(bias)
        except ValueError:
            self.fail(f"{value!r} is no bias; expected ID=BIAS such as 17=-100", param, ctx)


_FLAGS = (
    click.option(
        "--max-tokens", type=TOKENS, help="Longest answer.  [default: the checkpoint's, or 256]"
    ),
    click.option(
        "--temperature",
        type=float,
        help="0 takes the most likely token.  [default: the checkpoint's, or 0]",
    ),
    click.option(
        "--top-p",
        type=float,
        help="Choose among the most likely tokens that make up this probability.  "
        "[default: the checkpoint's, or 1]",
    ),
    click.option(
        "--top-k",
        type=int,
        help="Choose among so many tokens, 0 among all.  [default: the checkpoint's, or 0]",
    ),
    click.option(
        "--min-p",
        type=float,
        help="Choose among tokens with this share of the most likely one's probability.  "
        "[default: the checkpoint's, or 0]",
    ),
    click.option(
        "--repetition-penalty",
        type=float,
        help="Above 1 makes tokens that were seen less likely.  [default: the checkpoint's, or 1]",
    ),
    click.option(
        "--presence-penalty",
        type=float,
        help="Above 0 makes tokens that the answer has less likely.  [default: 0]",
    ),
    click.option(
        "--frequency-penalty",
        type=float,
        help="Above 0 does so the more the more often it has them.  [default: 0]",
    ),
    click.option(
        "--logit-bias",
        type=_Bias(),
        multiple=True,
        show_default=False,
        metavar="ID=BIAS",
        help="Add BIAS, -100 to 100, to the logit of token ID; may be repeated.",
    ),
    click.option("--seed", type=int, help="Equal seeds give equal answers.  [default: 0]"),
    click.option(
        "--stop",
        multiple=True,
        metavar="TEXT",
        show_default=False,
        help="End the answer before TEXT; may be repeated.",
    ),
    click.option(
        "--ignore-eos",
        is_flag=True,
        show_default=False,
        help="Continue after the end of the sequence.",
    ),
    click.option(
        "--defaults",
        type=click.Choice(["generation-config", "none"]),
        default="generation-config",
        help="Where options that are not given come from: generation_config.json, or nowhere.",
    ),
    click.option(
        "--end-tokens",
        type=click.Choice(["generation-config", "tokenizer", "both"]),
        default="generation-config",
        help="Whose end tokens end the answer: generation_config.json's, the tokenizer's.",
    ),
)


def answer_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options to a command."""
    for flag in reversed(_FLAGS):
        command = flag(command)
    return command


def answer_options(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Model.generation_options` for what the user gave."""
    found = {own: options[name] for name, own in _NAMES.items() if options[name] is not None}
    if options["logit_bias"]:
        found["logit_bias"] = dict(options["logit_bias"])
    if options["stop"]:
        found["stop"] = options["stop"]
    return found | {"ignore_eos": options["ignore_eos"]}
