"""A request to /v1/completions, from its body to its choices; runs in a worker."""

from typing import Any

from sala_compile.runtime.common.json_text import is_list
from sala_compile.runtime.serving.answers.answer_text import AnswerText
from sala_compile.runtime.serving.answers.prompt_tokens import PromptTokens
from sala_compile.runtime.serving.http.api_error import refused
from sala_compile.runtime.serving.http.completion_replies import CompletionChunks, CompletionWhole
from sala_compile.runtime.serving.http.exchange import AnswerChoice, Echo, Exchange
from sala_compile.runtime.serving.http.json_bodies import parse_body
from sala_compile.runtime.serving.http.prompt_ids import GivenPrompt, prompts_of
from sala_compile.runtime.serving.http.request_choices import (
    Asked,
    ConstraintMaker,
    check_fields,
    choices_of,
    constraints_of,
    room_for,
)
from sala_compile.runtime.serving.http.request_fields import CompletionFields
from sala_compile.runtime.serving.http.request_limits import LIMITS
from sala_compile.runtime.serving.http.served_model import ServedModel
from sala_compile.runtime.serving.http.state_access import known_state, refusing
from sala_compile.runtime.serving.http.stream_lines import ReplyExtras

_DEFAULT_TOKENS = 16
"""Of an answer without max_tokens, as in OpenAI's documentation."""


class CompletionRequest:
    """What the body of a request asks for."""

    kind = "cmpl"

    def __init__(self, served: ServedModel, body: bytes) -> None:
        """Read the body and make the jobs; ApiError for what cannot be answered."""
        self.fields = fields = parse_body(CompletionFields, body)
        check_fields(served, fields)
        self.extras = ReplyExtras.of(fields, logprobs=fields.logprobs is not None)
        if fields.best_of not in (None, fields.n or 1):
            raise refused("best_of", "best_of is not supported, but as the value of n")
        special = fields.add_special_tokens is not False
        prompts = prompts_of(
            served, self._prompt(served), special=special, truncate=fields.truncate_prompt_tokens
        )
        if fields.state_id is not None:
            state = known_state(served, fields.state_id)
            refusing(lambda: state.require_beginning(prompts[0].ids))
        count = len(prompts) * (fields.n or 1)
        if count > LIMITS.prompts:
            raise refused("n", f"{count} choices are requested, at most {LIMITS.prompts} may be")
        constraints = constraints_of(served, fields)
        asked = [self._asked(served, prompt, constraints) for prompt in prompts]
        self.choices: list[AnswerChoice] = choices_of(served, fields, asked)

    def whole(self) -> CompletionWhole:
        """What collects the reply."""
        return CompletionWhole(self.extras)

    def chunks(self, exchange: Exchange) -> CompletionChunks:
        """What writes the reply as a stream."""
        return CompletionChunks(exchange, self.extras)

    def _prompt(self, served: ServedModel) -> object:
        """What is given, after the text of a state."""
        given: Any = self.fields.prompt
        if self.fields.state_id is None:
            return given
        if not isinstance(given, str) and not (is_list(given) and set(map(type, given)) == {int}):
            raise refused("prompt", "after a state goes one prompt: a text, or a list of ids")
        state = known_state(served, self.fields.state_id)
        return refusing(lambda: state.text(given))

    def _asked(
        self, served: ServedModel, prompt: GivenPrompt, constraints: ConstraintMaker
    ) -> Asked:
        fields, ids = self.fields, prompt.ids
        echoes = bool(fields.echo)

        def answer(stop: tuple[str, ...], ends: frozenset[int]) -> AnswerText:
            return AnswerText(
                served.tokenizer,
                ids.tolist(),
                stop=stop,
                ends=ends,
                shows_stop=bool(fields.include_stop_str_in_output),
                shows_marks=fields.skip_special_tokens is False,
            )

        def echo() -> Echo | None:
            if not echoes:
                return None
            tokens = PromptTokens(served.tokenizer, ids.tolist()) if self.extras.logprobs else None
            text = served.tokenizer.decode(ids.tolist()) if prompt.text is None else prompt.text
            return Echo(text, tokens)

        return Asked(
            ids=ids,
            max_tokens=room_for(served, len(ids), fields.max_tokens, _DEFAULT_TOKENS),
            answer=answer,
            constraint=constraints,
            echo=echo,
            logprobs=fields.logprobs,
            prompt_logprobs=echoes and self.extras.logprobs,
        )
