"""Random conversations over restarts, damage and little room: every bit is as it should be."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sala_compile
from sala_compile.runtime.model import Model
from sala_compile.runtime.serving.kept.kept_folder import LOCK
from sala_compile.runtime.serving.kept.kept_prefixes import KeptPrefixes
from sala_compile.runtime.serving.scheduling.scheduler import Scheduler
from sala_compile.runtime.serving.work.job import Reuse
from sala_compile.runtime.state.text_history import TextHistory
from tests.support.sequences import used
from tests.support.served_jobs import job, run

LIMIT = 1 << 20

_turn = st.tuples(
    st.just("ask"),
    st.integers(0, 3),  # which conversation it continues, the newest first
    st.sampled_from([100, 100, 100, 97, 60, 0]),  # how much of it, in percent
    st.integers(1, 60),  # new tokens
    st.integers(0, 12),  # tokens of the answer
    st.sampled_from([Reuse.ANY, Reuse.ANY, Reuse.READ, Reuse.NONE]),
)
_event = st.tuples(
    st.sampled_from(["restart", "restart", "kill", "forget", "damage", "shrink"]),
    st.integers(0, 1 << 20),
)


class _Server:
    """A model whose directory and memory come and go."""

    def __init__(self, model: Model, directory: Path) -> None:
        self.model, self.directory, self.limit = model, directory, LIMIT
        self.texts: list[np.ndarray] = []
        self.random = np.random.default_rng(0)
        self._open()

    def _open(self) -> None:
        self.kept = KeptPrefixes(self.model, self.directory, self.limit)
        self.scheduler = Scheduler(self.model.engine)

    def ask(self, which: int, share: int, new: int, answer: int, reuse: Reuse) -> None:
        old = self.texts[-1 - which % len(self.texts)] if self.texts else np.zeros(0, np.int32)
        ids = self.random.integers(0, self.model.vocabulary, new).astype(np.int32)
        room = self.model.context - answer - 1
        prompt = np.concatenate([old[: len(old) * share // 100], ids])[-room:]
        asked, told = job(prompt, answer, logprobs=3, reuse=reuse)
        seen: list[TextHistory] = []
        states, close = self.model.engine.states, self.model.engine.states.close
        states.close = lambda state: (seen.append(state.history), close(state))  # type: ignore
        run(self.scheduler, asked)
        states.close = close  # type: ignore[method-assign]
        [history] = seen
        assert len(told.tokens) == answer
        if reuse is not Reuse.ANY:
            assert history.exact_length(len(prompt)) == len(prompt)
        assert told.likelihoods == self._anew(prompt, told.tokens, history)
        self.texts.append(np.concatenate([prompt, np.array(told.tokens[:-1], np.int32)]))

    def _anew(self, prompt: np.ndarray, tokens: list[int], history: TextHistory) -> list[object]:
        """What the same answer is told by a server that knows nothing: as the history says."""
        ids = np.concatenate([prompt, np.array(tokens, np.int32)])
        ends = [begin for begin, _ in history.parts if begin < len(prompt)]
        begins = [(0, False), *(part for part in history.parts if part[0] < len(prompt))]
        found: list[object] = []
        with self.model.sequence() as sequence:
            engine, state = self.model.engine, sequence.state
            for (begin, generated), end in zip(begins, [*ends, len(prompt)], strict=True):
                call = engine.append(state, ids[begin:end], generated=generated, reuse=False)
                logits = engine.finish(call).logits
            for token in tokens:
                found.append(_likelihood(logits[-1], token))
                logits = sequence.append([token])[None]
        return found

    def happen(self, what: str, number: int) -> None:
        if what != "kill":
            self.kept.drain(60)
        if what == "forget":
            _forget(self.model)
            return
        self.kept.close()
        _forget(self.model)
        files = sorted(path for path in self.directory.iterdir() if path.name != LOCK)
        if what == "damage" and files:
            path = files[number % len(files)]
            data = bytearray(path.read_bytes())
            data[number % len(data)] ^= 1 + number % 255
            path.write_bytes(data if number % 3 else data[: number % len(data)])
        if what == "shrink":
            self.limit = max(4096, self.limit // 4)
        self._open()


def _likelihood(logits: np.ndarray, token: int) -> object:
    from sala_compile.runtime.serving.scheduling.likelihoods import likelihood

    return likelihood(logits, token, 3)


def _forget(model: Model) -> None:
    """Empty the cache in memory."""
    store = model.engine.store
    for pool in (store.snapshots, *(pool for _, pool in store.groups.pools())):
        if pool.reclaim is not None:
            pool.reclaim(pool.count)


def _check(model: Model, directory: Path, steps: list) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    server = _Server(model, directory)
    for what, *more in steps:
        if what == "ask":
            server.ask(*more)
        else:
            server.happen(what, *more)
    server.kept.drain(60)
    server.kept.close()
    sizes = sum(p.stat().st_size for p in directory.iterdir() if p.name != LOCK)
    assert sizes == server.kept.info()["bytes"] <= server.limit
    _forget(model)
    assert used(model) == dict.fromkeys(used(model), 0)


_STEPS = st.lists(st.one_of(_turn, _event), min_size=4, max_size=16)
_QUICK = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@settings(max_examples=40, deadline=None, suppress_health_check=_QUICK)
@given(steps=_STEPS)
def test_answers_are_those_of_a_server_that_knows_nothing(
    handmade: Path, tmp_path: Path, steps: list
):
    with sala_compile.load(handmade, context=256, batch=2, prefix_cache="32KiB") as model:
        _check(model, tmp_path / "prefixes", steps)


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_answers_of_a_compiled_model(compiled, tmp_path: Path, dtype: str):
    with sala_compile.load(
        compiled(dtype), context=512, chunk=64, batch=2, prefix_cache="2MiB", snapshot_every=128
    ) as model:

        @settings(max_examples=8, deadline=None, suppress_health_check=_QUICK)
        @given(steps=_STEPS)
        def holds(steps: list) -> None:
            _check(model, tmp_path / "prefixes", steps)

        holds()
