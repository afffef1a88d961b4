"""Random mixes of chunks in one step: every sequence is, to the bit, what it is alone.

Prompts in chunks, decoded tokens, several tokens to verify, drafted ones of which some remain,
tokens chosen on the device, calls that are cancelled, admissions that fail, mistakes, and logits
that are not numbers, in the same steps.
"""

import random
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.devices.draw import Draw
from sala_compile.runtime.engine.append import Append
from sala_compile.runtime.engine.chunk import SampledToken, SequenceChunk, StepResult
from sala_compile.runtime.engine.logit_check import NotANumberError
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.store import State
from tests.support.emulated_gpu import emulated_gpu
from tests.support.sequences import assert_unused, spoiled

GREEDY = Draw(0.0, 1.0, 0, 0.0)
Call = tuple[bool, list[int]]
"""Whether the tokens of a call were generated, and the tokens."""


@dataclass(eq=False)
class Text:
    """A sequence as it should be: its calls, and the logits that were seen after some tokens.

    `seen` has the logits by position, `chosen` the tokens that the device chose; `pending` is one
    that is not part of the text yet.
    """

    state: State
    calls: list[Call] = field(default_factory=list)
    seen: dict[int, np.ndarray] = field(default_factory=dict)
    chosen: dict[int, int] = field(default_factory=dict)
    append: Append | None = None
    ids: list[int] = field(default_factory=list)
    pending: SampledToken | None = None

    def __len__(self) -> int:
        return sum(len(ids) for _, ids in self.calls)

    def cut(self, length: int) -> None:
        """Drop what is beyond a length between two calls."""
        while len(self) > length:
            self.calls.pop()
        assert len(self) == length, "a sequence returns to where a call began"
        self.seen = {place: row for place, row in self.seen.items() if place < length}
        self.chosen = {place: token for place, token in self.chosen.items() if place < length}
        self.pending = None


class Scheduler:
    """Does what a server might, and worse, by chance."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model = model
        self.engine = model.engine
        self.random = random.Random(seed)
        self.texts: list[Text] = []
        self.done: list[Text] = []
        self.counts = dict.fromkeys(
            (
                *("mixed", "refused", "verified", "drafted", "not a number"),
                *("cancelled", "chosen", "mistakes"),
            ),
            0,
        )

    def ids(self, count: int) -> list[int]:
        """Random tokens."""
        return [self.random.randrange(self.model.vocabulary) for _ in range(count)]

    def turn(self) -> None:
        """Begin, fork, cancel or end something, and run a step of what is there."""
        chance = self.random.random()
        refused = self.counts["refused"]
        if chance < 0.3:
            self.open()
        elif chance < 0.45:
            self.cancel()
        elif chance < 0.52 and self.texts:
            self.end(self.random.choice(self.texts))
        elif chance < 0.57:
            self.fork()
        self.step()
        if self.counts["refused"] > refused and self.random.random() < 0.5:
            self.end(self.random.choice(self.texts))

    def open(self) -> None:
        """Begin a sequence, if there is a slot."""
        refusal = self.engine.admission.refusal(self.engine.admission.call(None, 1))
        try:
            self.texts.append(Text(self.engine.states.open()))
        except MemoryBudgetError:
            assert isinstance(refusal, MemoryBudgetError)

    def fork(self) -> None:
        """Fork a sequence that is not in a call."""
        idle = [text for text in self.texts if text.append is None and text.pending is None]
        if not idle:
            return
        text = self.random.choice(idle)
        try:
            state = self.engine.states.fork(text.state)
        except MemoryBudgetError:
            return
        self.texts.append(Text(state, list(text.calls), dict(text.seen), dict(text.chosen)))

    def cancel(self) -> None:
        """Cancel a call between two steps."""
        for text in self.texts:
            if text.append is not None:
                begin = text.append.begin
                text.append.close()
                text.append = None
                self.counts["cancelled"] += 1
                self.settle(text, begin)
                return

    def settle(self, text: Text, begin: int) -> None:
        """After a call that was cut short: it returned to its begin, or is broken."""
        if text.state.broken:
            with pytest.raises(RequestError, match="interrupted"):
                text.state.require_usable()
            self.engine.states.truncate(text.state, 0)
        assert text.state.length in (0, begin)
        text.cut(text.state.length)

    def end(self, text: Text) -> None:
        """End a sequence, whatever it is in the middle of; what was seen is compared later."""
        if text.append is None:
            assert self.engine.states.token_ids(text.state) == self.expected_ids(text)
        self.engine.states.close(text.state)
        if text.append is not None:
            text.append.close()
        self.texts.remove(text)
        self.done.append(text)

    def expected_ids(self, text: Text) -> list[int]:
        return [token for _, ids in text.calls for token in ids]

    def step(self) -> None:
        """One step of a random part of the sequences."""
        budget = self.engine.limits.step_tokens
        chosen = self.random.sample(self.texts, min(len(self.texts), self.engine.limits.batch))
        parts: list[tuple[Text, SequenceChunk]] = []
        for text in chosen:
            chunk = self.chunk(text, budget) if budget else None
            if chunk is not None:
                budget -= len(chunk)
                parts.append((text, chunk))
        if not parts:
            return
        chunks = [chunk for _, chunk in parts]
        mistaken = self.random.randrange(len(chunks)) if self.random.random() < 0.1 else None
        if mistaken is not None:
            chunks[mistaken] = self.mistake(chunks[mistaken])
        refusal = self.engine.admission.refusal(self.engine.admission.step(chunks))
        spoil = self.random.random() < 0.15
        lengths = [text.state.length for text, _ in parts]
        with spoiled(self.model, self.random.randrange(3)) if spoil else nullcontext():
            results = self.engine.step(chunks)
        kinds = {chunk.generated for chunk in chunks}
        self.counts["mixed"] += len(kinds) == 2
        lacking = [result for result in results if isinstance(result.error, MemoryBudgetError)]
        assert bool(lacking) <= isinstance(refusal, MemoryBudgetError), "room was promised"
        for index, (text, _) in enumerate(parts):
            if index == mistaken:
                self.counts["mistakes"] += 1
                assert isinstance(results[index].error, RequestError)
                assert text.state.length == lengths[index]
            else:
                self.note(text, chunks[index], results[index], lengths[index], spoil=spoil)

    def chunk(self, text: Text, budget: int) -> SequenceChunk | None:
        """What a sequence does next: go on with its call, begin one, decode, verify, or choose."""
        state = text.state
        if text.append is not None:
            return text.append.next_chunk(self.random.choice([budget, min(budget, 70), 1]))
        if text.pending is not None:
            return self.fed(text)
        room = self.engine.limits.context - state.length
        if room == 0:
            return None
        if self.random.random() < 0.5:
            return self.begin(text, room, budget)
        count = min(self.random.choice([1, 1, 2, 5]), room, budget)
        text.ids = self.ids(count)
        samples = self.engine.stepper.samples and self.random.random() < 0.5
        if count == 1:
            return SequenceChunk.decode(state, text.ids[0], GREEDY if samples else None)
        if self.random.random() < 0.6:
            ids, kept = np.array(text.ids, np.int32), self.random.randint(1, count)
            return SequenceChunk.verify(state, ids, lambda _: kept)
        rows = sorted(self.random.sample(range(count), self.random.randint(0, count)))
        ids, end = np.array(text.ids, np.int32), state.length + count
        draws = [GREEDY] * len(rows) if samples else []
        return SequenceChunk(state, ids, end, generated=True, rows=rows, draws=draws)

    def fed(self, text: Text) -> SequenceChunk | None:
        """The token that the device chose, fed to the next step, before or after it is known."""
        token, text.pending = text.pending, None
        assert token is not None
        if text.state.length == self.engine.limits.context:
            return None
        if self.random.random() < 0.3:
            text.ids = [token.take()]
            return SequenceChunk.decode(text.state, text.ids[0], GREEDY)
        chunk = SequenceChunk.decode(text.state, token, GREEDY)
        text.ids = [-1]
        return chunk

    def begin(self, text: Text, room: int, budget: int) -> SequenceChunk | None:
        """Begin a call that reads, if there is room for all of it."""
        count = min(self.random.choice([2, 3, 20, 70, 150]), room)
        if count < 2:
            return None
        text.ids = self.ids(count)
        admission = self.engine.admission
        refusal = admission.refusal(admission.call(text.state, count))
        every_row = self.random.random() < 0.3
        try:
            text.append = self.engine.append(text.state, text.ids, every_row=every_row)
        except MemoryBudgetError:
            assert isinstance(refusal, MemoryBudgetError)
            self.counts["refused"] += 1
            return None
        assert refusal is None
        return text.append.next_chunk(min(budget, self.random.choice([70, 400])))

    def mistake(self, chunk: SequenceChunk) -> SequenceChunk:
        """The chunk as somebody might hand it in who is wrong."""
        wrong = np.full(len(chunk), self.model.vocabulary, np.int32)
        state, end = chunk.state, chunk.call_length
        ids = np.zeros(len(chunk), np.int32)
        return self.random.choice(
            [
                SequenceChunk(state, wrong, end),
                SequenceChunk(state, ids, state.length),
                SequenceChunk(state, ids, end, rows=[len(chunk)]),
                SequenceChunk(state, ids, end, rows=[0], draws=[GREEDY] * 2),
                SequenceChunk(state, ids, end, call=object()),
            ]
        )

    def note(
        self, text: Text, chunk: SequenceChunk, result: StepResult, begin: int, *, spoil: bool
    ) -> None:
        """Compare what a step did for a chunk with what it should have done."""
        if isinstance(result.error, MemoryBudgetError):
            assert text.state.length == begin
            self.counts["refused"] += 1
            return
        if isinstance(result.error, RequestError):
            assert "drafted tokens is requested" in str(result.error)
            assert text.state.length == begin
            return
        if chunk.fed is not None:
            text.ids = [chunk.fed.take()]
        kept = self.kept(text, chunk, result, spoil=spoil)
        if result.error is not None:
            assert spoil
            assert isinstance(result.error, NotANumberError)
            self.counts["not a number"] += 1
        if result.logits is not None and result.error is None:
            found = zip(chunk.rows, result.logits, strict=True)
            text.seen |= {begin + row: logits.copy() for row, logits in found if row < kept}
        assert text.state.length == begin + kept
        if text.append is not None:
            text.append.done(result)
            if text.append.finished:
                text.append.close()
                if text.append.left:
                    first, text.append = text.append.begin, None
                    self.settle(text, first)
                    return
                text.append = None
                text.calls.append((False, text.ids))
            return
        text.calls += [(True, [token]) for token in text.ids]
        self.counts["verified"] += len(chunk) > 1 and chunk.accept is None
        self.choose(text, chunk, result, begin, spoil=spoil)

    def kept(self, text: Text, chunk: SequenceChunk, result: StepResult, *, spoil: bool) -> int:
        """How many tokens of a chunk remain: all but of one that drafts."""
        if chunk.accept is None or result.logits is None:
            return len(chunk)
        count = chunk.accept(result.logits)
        self.counts["drafted"] += count < len(chunk)
        text.ids = text.ids[:count]
        if spoil:
            result.error = NotANumberError("whoever accepts looks at the logits")
            return count
        last = self.engine.states.last_logits(text.state)
        np.testing.assert_array_equal(last, result.logits[count - 1])
        return count

    def choose(
        self, text: Text, chunk: SequenceChunk, result: StepResult, begin: int, *, spoil: bool
    ) -> None:
        """Keep the tokens that the device chose; the last one may be fed to a later step."""
        if spoil:
            return
        for row, token in zip(chunk.rows, result.tokens, strict=bool(chunk.draws)):
            self.counts["chosen"] += 1
            if row == len(chunk) - 1:
                text.pending = token
            if row < len(chunk) - 1 or self.random.random() < 0.5:
                text.chosen[begin + row] = token.take()


def _alone(model: Model, calls: list[Call]) -> Iterator[np.ndarray]:
    """The logits after every token of a text, its calls carried out one by one."""
    with model.sequence() as sequence:
        for generated, group in groupby(calls, key=lambda call: call[0]):
            for _, ids in group:
                if generated:
                    yield model.decode([sequence], ids)[0]
                else:
                    call = model.engine.append(sequence.state, ids, every_row=True)
                    found = model.engine.finish(call).logits
                    assert found is not None
                    yield from found


def _run(model: Model, alone: Model, seed: int, turns: int) -> dict[str, int]:
    scheduler = Scheduler(model, seed)
    for _ in range(turns):
        scheduler.turn()
    while scheduler.texts:
        scheduler.end(scheduler.texts[0])
    assert_unused(model)
    for text in scheduler.done:
        wanted = list(_alone(alone, text.calls)) if text.seen or text.chosen else []
        for place, logits in text.seen.items():
            if place < len(wanted):  # not of a call that was cut short by the end
                np.testing.assert_array_equal(logits, wanted[place])
        for place, token in text.chosen.items():
            assert token == int(wanted[place].argmax())
    return scheduler.counts


OPTIONS: dict[str, Any] = {
    "batch": 3,
    "sequences": 5,
    "snapshots": 2,
    "speculate": 5,
    "poison": True,
}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_any_mix_on_the_handmade_model(handmade_gpu: Path, device: str):
    """On an emulated GPU with tokens that it chooses, whose decoded rows run apart."""
    with ExitStack() as stack:
        if device == "cuda":
            stack.enter_context(emulated_gpu())
        load = stack.enter_context
        model = load(sala_compile.load(handmade_gpu, device=device, chunk=16, **OPTIONS))
        alone = load(sala_compile.load(handmade_gpu, device="cpu"))
        total = dict.fromkeys(Scheduler(model, 0).counts, 0)
        for seed in range(3):
            found = _run(model, alone, seed, turns=80)
            total = {name: count + found[name] for name, count in total.items()}
        chosen = total.pop("chosen")
        assert min(total.values()) > 2, total
        assert (chosen > 20) is (device == "cuda")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "rounded"])
def test_any_mix_on_a_compiled_model(compiled, dtype: str):
    """Dense and sparse calls, of several chunks that end at multiples of 64."""
    with (
        sala_compile.load(compiled(dtype), context=400, chunk=200, threads=2, **OPTIONS) as model,
        sala_compile.load(compiled(dtype), context=400, chunk=64, threads=1) as alone,
    ):
        found = _run(model, alone, seed=7, turns=70)
        del found["chosen"]
        assert min(found.values()) > 0, found
