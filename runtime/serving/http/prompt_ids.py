"""The prompts of a completion: texts, token ids, lists of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.http.api_error import ApiError, of_sala_error, refused, too_long
from sala_compile.runtime.serving.http.request_limits import LIMITS
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.http.text_room import require_text_fits

_EXPECTED = "a text, a list of texts, a list of token ids, or a list of such lists"


@dataclass(frozen=True, slots=True)
class GivenPrompt:
    """A prompt as it was given: its `text`, None for ids, and its `ids`, int32 [tokens]."""

    text: str | None
    ids: np.ndarray


def prompts_of(
    served: ServedModel, given: object, *, special: bool = True, truncate: int | None = None
) -> list[GivenPrompt]:
    """The prompts of a request; ApiError for one that is empty, no prompt, or too long.

    `special` puts what is around any text around a text, `truncate` keeps the last tokens alone.
    """
    several = _several(given)
    if len(several) > LIMITS.prompts:
        raise refused(
            "prompt", f"there are {len(several)} prompts, at most {LIMITS.prompts} may be"
        )
    found: list[GivenPrompt] = []
    for number, each in enumerate(several):
        param = "prompt" if each is given else f"prompt[{number}]"
        text = each if isinstance(each, str) else None
        ids = encoded(served, text, param, special=special) if text is not None else each
        found.append(GivenPrompt(text, checked_ids(served, ids, param, truncate)))
    return found


def encoded(served: ServedModel, text: str, param: str, *, special: bool = True) -> list[int]:
    """The ids of a text; ApiError if it cannot fit. A long one is not read to its end."""
    require_text_fits(served.tokenizer, served.context, text, param)
    try:
        return served.tokenizer.encode(text, special=special)
    except RequestError as error:
        raise of_sala_error(error) from None


def checked_ids(
    served: ServedModel, ids: Sequence[Any] | np.ndarray, param: str, truncate: int | None = None
) -> np.ndarray:
    """The ids of a prompt, int32 [tokens]; ApiError if one is no token, or they do not fit."""
    if truncate is not None:
        ids = ids[-(served.context - 1 if truncate == -1 else truncate) :] if truncate else ids[:0]
    kinds = set(map(type, ids)) if isinstance(ids, list) else {int}
    if kinds - {int}:
        raise refused(param, f"a token id is no whole number; expected {_EXPECTED}")
    if not len(ids):
        raise refused(param, "the prompt is empty; expected at least one token")
    if len(ids) > served.context:
        raise too_long(len(ids), served.context, param)
    least, most = min(ids), max(ids)
    if least < 0 or most >= served.vocabulary:
        wrong = least if least < 0 else most
        raise _no_token(wrong, served.vocabulary, param)
    return np.asarray(ids, np.int32)


def _no_token(token: int, vocabulary: int, param: str) -> ApiError:
    text = str(token) if abs(token) < 2**63 else "a number of many digits"
    return refused(param, f"{text} is no token; expected ids from 0 to {vocabulary - 1}")


def _several(given: object) -> list[Any]:
    """The prompts one by one, each a text or a list of ids."""
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise refused("prompt", f"the prompt is no text and no list; expected {_EXPECTED}")
    values = cast("list[Any]", given)
    kinds = set(map(type, values))
    if kinds == {int}:
        return [values]
    if kinds <= {str, list}:
        return values
    raise refused("prompt", f"the prompt is a list of different things; expected {_EXPECTED}")
