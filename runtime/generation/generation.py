"""One answer in progress: prefill, then one token at a time, until something ends it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

import numpy as np

from sala_compile.runtime.common.checks import checked_flag, checked_whole, refusal
from sala_compile.runtime.engine.append import Progress
from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.generation.sampling import Sampler, SamplingOptions
from sala_compile.runtime.generation.speculation import Speculation
from sala_compile.runtime.generation.step_costs import StepCosts
from sala_compile.runtime.generation.stopping import StopStrings
from sala_compile.runtime.sequence import TokenSequence
from sala_compile.runtime.text.tokenizer import Tokenizer


class Finish(StrEnum):
    """What ended an answer."""

    END_OF_SEQUENCE = "eos"
    STOP_STRING = "stop"
    MAX_TOKENS = "length"
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class GenerationOptions:
    """When an answer ends, and how its tokens are chosen.

    `eos` are the ids that end a sequence, which `ignore_eos` treats as ordinary tokens. `stop` is
    one text or several, and None means none. A model that was loaded to `speculate` does, unless
    this is False; the tokens are the same. RequestError for values of another kind.
    """

    max_new_tokens: int = 256
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    stop: tuple[str, ...] = ()
    eos: tuple[int, ...] = ()
    ignore_eos: bool = False
    speculate: bool = True

    def __post_init__(self) -> None:
        """Refuse an answer of no tokens, stop strings of no characters, and other kinds."""
        values = {
            "max_new_tokens": checked_whole("max_new_tokens", self.max_new_tokens, 1, "1 or more"),
            "stop": stop_strings(self.stop),
            "eos": _end_tokens(self.eos),
            "ignore_eos": checked_flag("ignore_eos", self.ignore_eos),
            "speculate": checked_flag("speculate", self.speculate),
        }
        if not isinstance(self.sampling, SamplingOptions):
            raise refusal("sampling", self.sampling, "SamplingOptions")
        for name, value in values.items():
            object.__setattr__(self, name, value)


def stop_strings(stop: object) -> tuple[str, ...]:
    """One text, several, or none for None; RequestError for anything else."""
    if stop is None:
        return ()
    if isinstance(stop, str):
        stop = (stop,)
    if not isinstance(stop, Iterable) or isinstance(stop, bytes | Mapping):
        raise refusal("stop", cast("object", stop), "a text or a list of texts, None for none")
    texts = tuple(cast("Iterable[Any]", stop))
    StopStrings(texts)
    return texts


def _end_tokens(eos: object) -> tuple[int, ...]:
    several = isinstance(eos, list | tuple | np.ndarray)
    ids = tuple(cast("Iterable[object]", eos)) if several else (eos,)
    return tuple(checked_whole("eos", token, 0, "token ids") for token in ids)


@dataclass(slots=True)
class Generation:
    """An answer to `prompt`: iterate `tokens` or `text` once; the other fields report how it goes.

    `history` are the tokens that the source holds already; the prompt may be empty if there are
    some. `token_ids` holds every chosen token, one that ends the sequence included. With `ahead`,
    a device that chooses tokens computes the next one while the consumer has the one before; the
    source may then hold the last token of the answer, which it does not otherwise. A model that
    was loaded to speculate chooses several tokens in a step, so that `token_ids` and the source can
    be ahead of a consumer that stops; of `drafted_tokens` so many were `accepted_tokens`. Drafts
    come from the text, and from `drafts` where a draft model was loaded.
    """

    source: TokenSequence
    prompt: Sequence[int]
    vocabulary: int
    options: GenerationOptions
    progress: Progress | None = None
    history: Sequence[int] = ()
    ahead: bool = False
    drafts: ModelDrafts | None = None
    token_ids: list[int] = field(default_factory=list[int], init=False)
    finish: Finish | None = field(default=None, init=False)
    prefill_seconds: float = field(default=0.0, init=False)
    decode_seconds: float = field(default=0.0, init=False)
    drafted_tokens: int = field(default=0, init=False)
    accepted_tokens: int = field(default=0, init=False)
    _room: int = field(default=0, init=False)
    _stops: Callable[[int], bool] | None = field(default=None, init=False)

    def tokens(self) -> Iterator[int]:
        """New tokens one by one.

        The time that the consumer takes between them counts only while a device works meanwhile.
        """
        sampler = Sampler(self.options.sampling, self.vocabulary)
        sampler.observe(np.asarray([*self.history, *self.prompt]))
        began = time.perf_counter()
        token = self._after_prompt(sampler)
        self._room = self.source.remaining
        self._note(token)
        self.prefill_seconds = time.perf_counter() - began
        yield token
        if self.ahead and self._chooses_there(sampler):
            yield from self._run_ahead(sampler, token)
            return
        if self.source.draft_room and self.options.speculate:
            yield from self._speculate(sampler, token)
            return
        while self.finish is None:
            began = time.perf_counter()
            token = self._note(self._next(sampler, (token,), generated=True))
            self.decode_seconds += time.perf_counter() - began
            yield token

    def _speculate(self, sampler: Sampler, token: int) -> Iterator[int]:
        """The tokens after the first, several of a step where the text repeats itself."""
        text = [*self.history, *self.prompt, token]
        speculation, costs = Speculation(text, self.drafts), StepCosts()
        while self.finish is None:
            began = time.perf_counter()
            left = self.options.max_new_tokens - len(self.token_ids)
            most = min(self.source.draft_room, left - 1)
            drafts = speculation.draft(most, costs.slope(1), costs.seconds(1))
            verified = time.perf_counter()
            if drafts:
                chosen = self.source.verify([token, *drafts], self._choose(sampler), self._ended)
                self.drafted_tokens += len(drafts)
                self.accepted_tokens += len(chosen) - 1
            else:
                chosen = [self._note(self._next(sampler, (token,), generated=True))]
            token = chosen[-1]
            speculation.observe(chosen)
            ended = time.perf_counter()
            costs.note(1 + len(drafts), ended - verified)
            self.decode_seconds += ended - began
            yield from chosen

    def _choose(self, sampler: Sampler) -> Callable[[np.ndarray], int]:
        return lambda logits: self._note(sampler.choose(logits))

    def _ended(self) -> bool:
        return self.finish is not None

    def _run_ahead(self, sampler: Sampler, token: int) -> Iterator[int]:
        """The tokens after the first, computed while the consumer has the one before."""
        if self.finish is not None:
            return
        began = time.perf_counter()
        count = min(self.options.max_new_tokens - 1, self._room)
        draws = iter(sampler.draw, None)
        with closing(self.source.run_ahead(token, draws, count)) as tokens:
            for token in tokens:
                self._note(token)
                self.decode_seconds = time.perf_counter() - began
                yield token
                if self.finish is not None:
                    return

    def text(self, tokenizer: Tokenizer) -> Iterator[str]:
        """New text in pieces, none of them empty, without the token or stop string that ended it.

        That token is left out whether or not the tokenizer counts it among its special ones.
        """
        decoder = tokenizer.stream([*self.history, *self.prompt])
        watcher = StopStrings(self.options.stop)
        pieces: list[str] = []

        def stops(token: int) -> bool:
            pieces.append(watcher.push(decoder.push(token)))
            return watcher.stopped_by is not None

        self._stops = stops
        for _ in self.tokens():
            yield from filter(None, pieces)
            pieces.clear()
        if self.finish is Finish.STOP_STRING:
            return
        rest = watcher.push(decoder.flush()) + watcher.flush()
        if watcher.stopped_by is not None:
            self.finish = Finish.STOP_STRING
        if rest:
            yield rest

    @property
    def prefill_rate(self) -> float:
        """Prompt tokens per second."""
        return len(self.prompt) / self.prefill_seconds if self.prefill_seconds else 0.0

    @property
    def decode_rate(self) -> float:
        """New tokens per second after the first, which prefill computes."""
        steps = len(self.token_ids) - 1
        return steps / self.decode_seconds if steps > 0 else 0.0

    def _after_prompt(self, sampler: Sampler) -> int:
        if len(self.prompt) == 0 and len(self.history) > 0:
            return sampler.choose(self.source.last_logits)
        return self._next(sampler, self.prompt, self.progress)

    def _next(
        self,
        sampler: Sampler,
        token_ids: Sequence[int],
        progress: Progress | None = None,
        *,
        generated: bool = False,
    ) -> int:
        """Append tokens and return the next one, chosen on the device of the logits if possible."""
        if self._chooses_there(sampler):
            return self.source.choose(token_ids, sampler.draw(), progress, generated=generated)
        return sampler.choose(self.source.append(token_ids, progress, generated=generated))

    def _chooses_there(self, sampler: Sampler) -> bool:
        """Whether the device of the logits can choose as the options say."""
        source = self.source
        if not source.samples or sampler.needs_texts:
            return False
        return source.samples_min_p or not sampler.needs_min_p

    def _note(self, token: int) -> int:
        self.token_ids.append(token)
        self.finish = self._ending(token)
        if self.finish is not Finish.END_OF_SEQUENCE and self._stops is not None:
            self.finish = Finish.STOP_STRING if self._stops(token) else self.finish
        return token

    def _ending(self, token: int) -> Finish | None:
        if token in self.options.eos and not self.options.ignore_eos:
            return Finish.END_OF_SEQUENCE
        if len(self.token_ids) == self.options.max_new_tokens:
            return Finish.MAX_TOKENS
        return Finish.CONTEXT if self._room < len(self.token_ids) else None
