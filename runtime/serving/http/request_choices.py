"""The choices that a request asks for, each with its job; made in a worker."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.http.api_error import of_sala_error, refused
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Echo
from sala_compile.runtime.serving.http.refused_fields import refuse_unsupported
from sala_compile.runtime.serving.http.request_fields import AnswerFields
from sala_compile.runtime.serving.http.sampling_choice import (
    allowed_of,
    ends_of,
    sampling_of,
    stops_of,
)
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.serving.work.job import Job, Reuse

_STRUCTURES = (
    *("response_format", "structured_outputs", "guided_json", "guided_json_object"),
    *("guided_regex", "guided_choice", "guided_grammar"),
)
AnswerMaker = Callable[[tuple[str, ...], frozenset[int]], AnswerText]
ConstraintMaker = Callable[[], Constraint | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt of a request, and how its answers are made.

    `answer` makes the text of a choice from stop strings and end tokens, `constraint` what
    restricts its tokens, `echo` the prompt at its front. With `logprobs`, so many alternatives
    come with each token; with `prompt_logprobs`, those of the prompt as well.
    """

    ids: np.ndarray
    max_tokens: int
    answer: AnswerMaker
    constraint: ConstraintMaker = lambda: None
    echo: Callable[[], Echo | None] = lambda: None
    logprobs: int | None = None
    prompt_logprobs: bool = False


def check_fields(served: ServedModel, fields: AnswerFields) -> None:
    """ApiError for another model, and for what is not supported or contradicts itself."""
    served.require_name(fields.model)
    refuse_unsupported(fields.model_extra)
    if fields.state_id is not None and fields.cache_salt is not None:
        raise refused("cache_salt", "state_id and cache_salt exclude each other: states have none")
    options = fields.stream_options
    if options is not None:
        if not fields.stream:
            raise refused("stream_options", "stream_options are for a request with stream: true")
        refuse_unsupported(options.model_extra, "stream_options.")


def structure_of(fields: AnswerFields) -> Structure | None:
    """What the answer has to be; ApiError for two such things at once, and for what is none."""
    try:
        return Structure.of_request({name: getattr(fields, name) for name in _STRUCTURES})
    except RequestError as error:
        raise of_sala_error(error) from None


def constraints_of(served: ServedModel, fields: AnswerFields) -> ConstraintMaker:
    """What makes the constraint of each choice; ApiError for what does not compile."""
    structure = structure_of(fields)
    if structure is None:
        return lambda: None
    try:
        return served.chats.structures.compile(structure).constraint
    except RequestError as error:
        raise of_sala_error(error) from None


def choices_of(served: ServedModel, fields: AnswerFields, asked: list[Asked]) -> list[AnswerChoice]:
    """The choices in the order of their index: all of the first prompt, then those of the next."""
    count = fields.n or 1
    stops = stops_of(fields, served.defaults)
    ends = ends_of(fields, served.ends, served.vocabulary)
    allowed = allowed_of(fields, served.vocabulary)
    deadline = None if fields.timeout is None else time.monotonic() + fields.timeout
    found: list[AnswerChoice] = []
    for number, each in enumerate(asked):
        if (fields.min_tokens or 0) > each.max_tokens:
            raise refused(
                "min_tokens", f"min_tokens is more than the {each.max_tokens} tokens to be made"
            )
        for sampling in sampling_of(fields, served.defaults, served.vocabulary, count):
            constraint = each.constraint()
            if constraint is not None and allowed is not None:
                message = "allowed_token_ids and a format of the answer exclude each other"
                raise refused("allowed_token_ids", message)
            job = Job(
                prompt=each.ids,
                max_new_tokens=each.max_tokens,
                sink=_nobody,
                sampling=sampling,
                ends=ends,
                min_tokens=fields.min_tokens or 0,
                logprobs=each.logprobs,
                prompt_logprobs=each.prompt_logprobs,
                constraint=constraint,
                allowed=allowed,
                reuse=Reuse(fields.prefix_reuse or Reuse.ANY),
                salt=(fields.cache_salt or "").encode(),
                deadline=deadline,
                priority=-(fields.priority or 0),
                observe=bool(fields.blocks_read),
            )
            found.append(
                AnswerChoice(len(found), number, job, each.answer(stops, ends), each.echo())
            )
    return found


def room_for(served: ServedModel, prompt: int, wanted: int | None, default: int | None) -> int:
    """The most tokens of an answer: `wanted`, else `default`, else what the context has left.

    After a prompt of the whole context there is one: the token that follows it.
    """
    room = max(1, served.context - prompt)
    longest = default if wanted is None else wanted
    return room if longest is None else min(longest, room)


def _nobody(events: object) -> None:
    """A sink until the request is submitted."""
