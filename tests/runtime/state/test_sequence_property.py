"""Random lives of sequences against a model that computes everything again."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import sala_compile
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence
from sala_compile.runtime.state.store import Snapshot, State, StateStore
from tests.support.handmade import PAGE, VOCABULARY, expected_logits
from tests.support.sequences import assert_unused

OPERATIONS = 10_000


class Life:
    """States of one store, what each should hold, and a kernel that writes tokens to pages."""

    def __init__(self, model: Model, seed: int) -> None:
        self.random = random.Random(seed)
        self.store: StateStore = model.engine.store
        self.pool = model.memory.arrays["ids"]
        self.table = model.memory.arrays["page_table"]
        self.texts: list[tuple[State, list[int]]] = []
        self.marks: list[tuple[State, Snapshot]] = []

    def operate(self) -> None:
        """Do one thing; where memory lacks, nothing may have changed."""
        options = [self.open, self.append, self.append, self.fork, self.mark, self.go_back]
        before = self.free()
        try:
            self.random.choice([*options, self.close, self.unmark])()
        except MemoryBudgetError:
            assert self.free() == before

    def free(self) -> list[int]:
        """What can be taken of each kind."""
        return [pool.free for pool in self.store.pools.values()]

    def open(self) -> None:
        self.texts.append((self.store.open(), []))

    def append(self) -> None:
        state, text = self.pick()
        count = min(self.random.randint(1, 9), 64 - len(text))
        if count == 0:
            return
        try:
            self.store.reserve(state, len(text) + count)
        except MemoryBudgetError:
            self.store.trim(state)
            raise
        tokens = [self.random.randrange(VOCABULARY) for _ in range(count)]
        for position, token in enumerate(tokens, len(text)):
            page = self.table[state.slot, position // PAGE]
            assert self.store.pools["kv"].holders(page) == 1, "a shared page is written"
            self.pool[page, position % PAGE] = token
        self.store.grow(state, np.array(tokens), "dense")
        text += tokens

    def fork(self) -> None:
        state, text = self.pick()
        self.texts.append((self.store.fork(state), list(text)))

    def mark(self) -> None:
        state, _ = self.pick()
        self.marks.append((state, self.store.take_snapshot(state)))

    def go_back(self) -> None:
        state, text = self.pick()
        own = [snapshot for owner, snapshot in self.marks if owner is state]
        snapshot = self.random.choice([None, *own])
        self.store.rollback(state, snapshot)
        del text[0 if snapshot is None else snapshot.length :]
        self.unmark([(s, m) for s, m in self.marks if s is state and m.length > len(text)])

    def close(self) -> None:
        state, _ = self.pick()
        self.unmark([(owner, mark) for owner, mark in self.marks if owner is state])
        self.texts = [each for each in self.texts if each[0] is not state]
        self.store.close(state)

    def unmark(self, chosen: list[tuple[State, Snapshot]] | None = None) -> None:
        if chosen is None:
            chosen = self.random.sample(self.marks, min(1, len(self.marks)))
        for mark in chosen:
            self.marks = [each for each in self.marks if each[1] is not mark[1]]
            self.store.drop_snapshot(mark[1])

    def pick(self) -> tuple[State, list[int]]:
        if not self.texts:
            self.open()
        return self.random.choice(self.texts)

    def check(self) -> None:
        """Every text is what it should be, and every page has as many holders as it should."""
        held = [page for state, _ in self.texts for page in state.pages["kv"]]
        held += [mark.partial["kv"] for _, mark in self.marks if "kv" in mark.partial]
        pool = self.store.pools["kv"]
        assert [pool.holders(page) for page in range(pool.count)] == np.bincount(
            np.array(held, int), minlength=pool.count
        ).tolist()
        assert self.store.slots.used == len(self.texts)
        assert self.store.snapshots.used == len(self.marks)
        for state, text in self.texts:
            assert self.store.token_ids(state).tolist() == text
            pages = state.pages["kv"]
            assert len(pages) == -(-len(text) // PAGE)
            assert self.table[state.slot, : len(pages)].tolist() == pages
            assert self.pool[pages, :PAGE].reshape(-1)[: len(text)].tolist() == text


def test_many_random_operations_leak_no_page_and_write_none_that_is_shared(handmade: Path):
    with sala_compile.load(handmade, batch=3, sequences=6, snapshots=4) as model:
        life = Life(model, seed=5)
        for count in range(OPERATIONS):
            life.operate()
            if count % 25 == 0:
                life.check()
        while life.texts:
            life.close()
        assert_unused(model)


class Machine(RuleBasedStateMachine):
    """Sequences through the public interface; `texts` are the pieces that each was given."""

    model: Model
    limit: int

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.sequences: list[TokenSequence] = []
        self.pieces: list[list[tuple[int, ...]]] = []

    def some(self, data: st.DataObject) -> int:
        """The index of a sequence."""
        return data.draw(st.integers(0, len(self.sequences) - 1))

    def pick_tokens(self, data: st.DataObject, most: int) -> tuple[int, ...]:
        """Some tokens."""
        seed = data.draw(st.integers(0, 3))
        count = data.draw(st.integers(1, most))
        drawn = np.random.default_rng(seed).integers(0, self.model.vocabulary, count)
        return tuple(drawn.tolist())

    def keep(self, sequence: TokenSequence, pieces: list[tuple[int, ...]]) -> None:
        """Add a sequence."""
        self.sequences.append(sequence)
        self.pieces.append(pieces)

    @rule()
    def begin(self) -> None:
        try:
            self.keep(self.model.sequence(), [])
        except MemoryBudgetError:
            assert len(self.sequences) == 4

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        index, ids = self.some(data), self.pick_tokens(data, self.limit)
        sequence = self.sequences[index]
        before = len(sequence)
        if before + len(ids) > self.model.context:
            return
        try:
            found = sequence.append(ids)
        except MemoryBudgetError:
            assert len(sequence) == before
            return
        self.pieces[index].append(ids)
        np.testing.assert_array_equal(found, sequence.last_logits)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def decode(self, data: st.DataObject) -> None:
        token = data.draw(st.integers(0, 20))
        if any(sequence.remaining == 0 for sequence in self.sequences):
            return
        try:
            self.model.decode(self.sequences, [token] * len(self.sequences))
        except MemoryBudgetError:
            return
        for pieces in self.pieces:
            pieces.append((token,))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        index = self.some(data)
        try:
            self.keep(self.sequences[index].fork(), list(self.pieces[index]))
        except MemoryBudgetError:
            return

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def snapshot(self, data: st.DataObject) -> None:
        try:
            self.sequences[self.some(data)].snapshot()
        except MemoryBudgetError:
            assert self.model.info()["snapshots"]["used"] == 3

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        index = self.some(data)
        sequence, ends = self.sequences[index], [0]
        for piece in self.pieces[index]:
            ends.append(ends[-1] + len(piece))
        points = [point for point in sequence.snapshots() if point in ends]
        length = data.draw(st.sampled_from([*points, len(sequence)]))
        sequence.truncate(length)
        del self.pieces[index][ends.index(length) :]

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        index = self.some(data)
        self.sequences.pop(index).close()
        self.pieces.pop(index)

    @invariant()
    def lengths_agree(self) -> None:
        for sequence, pieces in zip(self.sequences, self.pieces, strict=True):
            assert len(sequence) == sum(map(len, pieces))

    def wanted(self, pieces: list[tuple[int, ...]]) -> np.ndarray:
        """The logits behind the pieces, computed from the beginning."""
        raise NotImplementedError

    def teardown(self) -> None:
        """Compare every sequence with one that computes everything again."""
        for sequence, pieces in zip(self.sequences, self.pieces, strict=True):
            assert sequence.token_ids == [token for piece in pieces for token in piece]
            if pieces and sequence.state.logits_at == len(sequence):
                np.testing.assert_array_equal(sequence.last_logits, self.wanted(pieces))
            if sequence.remaining:
                found = sequence.append([3])
                np.testing.assert_array_equal(found, self.wanted([*pieces, (3,)]))
        for sequence in self.sequences:
            sequence.close()
        self.folder.cleanup()
        info = self.model.info()
        assert info["sequences"]["used"] == 0
        if not info["prefix_cache"]["enabled"]:
            assert_unused(self.model)


def _run(machine: type[Machine], examples: int, steps: int) -> None:
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    machine.TestCase().runTest()


@pytest.mark.parametrize("cache", [{}, {"prefix_cache": 3000, "snapshot_every": 8}])
def test_random_lives_of_the_handmade_model(handmade: Path, cache: dict):
    options = {"batch": 4, "context": 40, "snapshots": 3, "poison": True}

    class Handmade(Machine):
        limit = 20

        def wanted(self, pieces: list[tuple[int, ...]]) -> np.ndarray:
            return expected_logits([token for piece in pieces for token in piece])[-1]

    with sala_compile.load(handmade, **options, **cache) as model:
        Handmade.model = model
        if cache:
            Handmade.snapshot = Handmade.begin  # the cache may have taken every snapshot
        _run(Handmade, examples=40, steps=25)
        if cache:
            assert model.info()["prefix_cache"]["hit_tokens"] > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "rounded"])
def test_random_lives_of_a_compiled_model(compiled, dtype: str):
    path = compiled(dtype)

    class Compiled(Machine):
        limit = 70

        def wanted(self, pieces: list[tuple[int, ...]]) -> np.ndarray:
            with reference.sequence() as sequence:
                for piece in pieces:
                    sequence.append(piece)
                return sequence.last_logits

        @precondition(lambda self: any(len(each) for each in self.sequences))
        @rule(data=st.data())
        def save_and_restore(self, data: st.DataObject) -> None:
            filled = [i for i, each in enumerate(self.sequences) if len(each)]
            index = data.draw(st.sampled_from(filled))
            path = Path(self.folder.name, "x.sala-state")
            self.sequences[index].save(path)
            try:
                self.keep(self.model.restore(path), list(self.pieces[index]))
            except MemoryBudgetError:
                return

    options = {"context": 200, "batch": 4, "poison": True}
    with (
        sala_compile.load(path, snapshots=3, **options) as model,
        sala_compile.load(path, **options) as reference,
    ):
        Compiled.model = model
        _run(Compiled, examples=12, steps=25)
