"""The tokens of a prompt that is returned with its answer."""

from collections.abc import Sequence

from sala_compile.runtime.serving.answers.answer_delta import AnswerToken
from sala_compile.runtime.serving.answers.token_texts import TokenTexts
from sala_compile.runtime.serving.tools.piece import Channel
from sala_compile.runtime.serving.work.event import Likelihood, PromptRead
from sala_compile.runtime.text.tokenizer import Tokenizer


class PromptTokens:
    """Text and tokens of a prompt, with their log probabilities as it is read.

    There is one token for each id, also for those without text, such as `<s>`.
    """

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
        self._ids = [int(token) for token in ids]
        self._decoder = tokenizer.stream()
        self._tokens = TokenTexts(tokenizer)
        self._read = 0
        self.text = ""
        """The text so far; that of the whole prompt after `finish`."""

    def feed(self, event: PromptRead) -> tuple[AnswerToken, ...]:
        """The tokens that are whole with the part that `event` reports."""
        part = self._ids[self._read : event.tokens]
        known = event.likelihoods or [None] * len(part)
        return self._add(part, known)

    def finish(self) -> tuple[AnswerToken, ...]:
        """The rest, tokens that no event reported included."""
        found = self._add(self._ids[self._read :], [None] * (len(self._ids) - self._read))
        rest = self._decoder.flush()
        self._tokens.extend(rest)
        self.text += rest
        left = [*self._tokens.take(rest, Channel.CONTENT), *self._tokens.finish()]
        return (*found, *(token for _, token in left))

    def _add(
        self, part: Sequence[int], known: Sequence[Likelihood | None]
    ) -> tuple[AnswerToken, ...]:
        found: list[AnswerToken] = []
        for token, likelihood in zip(part, known, strict=True):
            text = self._decoder.push(token)
            self.text += text
            self._tokens.add(token, text, likelihood)
            found += [each for _, each in self._tokens.take(text, Channel.CONTENT)]
        self._read += len(part)
        return tuple(found)
