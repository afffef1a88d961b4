"""Answers with a draft model: those without, whatever it drafts; its own state stays exact."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import tokenizers

import sala_compile
from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.errors import MemoryBudgetError, RequestError
from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.generation.speculation import Speculation
from sala_compile.runtime.generation.step_costs import StepCosts
from sala_compile.runtime.model import Model
from sala_compile.runtime.text.tokenizers.same_tokens import require_same_tokens
from tests.support.sequences import assert_unused
from tests.support.tokenizers import byte_level

OPTIONS: tuple[dict[str, Any], ...] = (
    {"temperature": 0.0},
    {"temperature": 0.7, "top_k": 3, "seed": 5},
)


@pytest.fixture(scope="module")
def models(compiled) -> Iterator[tuple[Model, Model]]:
    """A model in float32 with itself in bfloat16 as a draft model, and one without."""
    path: Path = compiled("float32")
    with (
        sala_compile.load(
            path, context=200, sequences=2, snapshots=1, speculate=5, draft=compiled("bfloat16")
        ) as drafting,
        sala_compile.load(path, context=200, sequences=2) as plain,
    ):
        yield drafting, plain
        assert_unused(drafting)
        assert drafting.draft is not None
        assert_unused(drafting.draft)


@pytest.mark.parametrize("options", OPTIONS, ids=["greedy", "drawn"])
@pytest.mark.parametrize("length", [1, 30, 100])
def test_answers_are_those_without_a_draft_model(
    models: tuple[Model, Model], length: int, options: dict[str, Any], monkeypatch
):
    """Past the length where attention becomes sparse; costs are fixed, whatever steps take."""
    drafting, plain = models
    monkeypatch.setattr(ModelDrafts, "cost", lambda *_: 0.0)
    monkeypatch.setattr(StepCosts, "slope", lambda *_: 0.0)
    prompt = np.random.default_rng(length).integers(2, plain.vocabulary, length).tolist()
    found: list[Any] = []
    for model in (drafting, plain):
        wanted = model.generation_options(60, ignore_eos=True, **options)
        with (
            model.sequence() as sequence,
            model.generation(prompt, wanted, sequence=sequence) as generation,
        ):
            tokens = list(generation.tokens())
            found.append((tokens, sequence.token_ids, sequence.append([1])))
            if model is drafting:
                assert generation.drafted_tokens > 10
                assert generation.accepted_tokens > (20 if not options["temperature"] else 0)
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "rounded"])
def test_the_draft_state_is_that_of_the_text(compiled, kind: str):
    """However much was drafted and dropped: the logits after it are equal to the bit."""
    random = np.random.default_rng(7)
    with sala_compile.load(
        compiled(kind), context=160, batch=1, sequences=2, snapshots=1, capacity=320
    ) as model:
        text = random.integers(2, model.vocabulary, 40).tolist()
        begin = len(text)
        with ModelDrafts(model.sequence()) as drafts, model.sequence() as other:
            other.append(text)
            while len(text) < 140:
                found = drafts.draft(text, int(random.integers(1, 6)))
                assert drafts.sequence.token_ids[: len(text)] == text
                right = int(random.integers(0, len(found) + 1))
                text += [*found[:right], int(random.integers(2, model.vocabulary))]
            drafts.read(text)
            assert drafts.sequence.token_ids == text
            for token in text[begin:]:
                other.append([token], generated=True)
            np.testing.assert_array_equal(drafts.sequence.last_logits, other.last_logits)


def test_a_text_beyond_the_context_of_the_draft_model_is_not_drafted(compiled):
    with (
        sala_compile.load(compiled("float32"), context=40, snapshots=1) as model,
        ModelDrafts(model.sequence()) as drafts,
    ):
        text = list(range(2, 39))  # repeats nothing
        assert len(Speculation(text, drafts).draft(3, 0.1, 1.0)) > 0
        assert Speculation([*text, 39], drafts).draft(3, 0.1, 1.0) == []


def test_drafts_stop_where_the_draft_model_costs_too_much(compiled):
    with (
        sala_compile.load(compiled("float32"), context=40, snapshots=1) as model,
        ModelDrafts(model.sequence()) as drafts,
    ):
        speculation = Speculation(list(range(2, 30)), drafts)
        assert speculation.draft(3, 0.1, 1.0)
        speculation.observe([5])
        # A token of it takes as long as a step of the model.
        assert drafts.cost(1.0) < 0.5
        drafts.cost = lambda _: 1.0  # type: ignore[method-assign]
        assert speculation.draft(3, 0.1, 1.0) == []


def test_a_draft_model_without_speculation_is_refused(compiled):
    with pytest.raises(RequestError, match="no drafted tokens are planned"):
        sala_compile.load(compiled("float32"), draft=compiled("bfloat16"))


def test_a_draft_model_of_another_vocabulary_is_refused(compiled, handmade: Path):
    with pytest.raises(RequestError, match=r"tiny.sala has .* token ids, float32.sala has"):
        sala_compile.load(compiled("float32"), speculate=2, draft=handmade)


def test_the_memory_of_the_draft_model_counts(compiled):
    path, draft = compiled("float32"), compiled("bfloat16")
    sizes: dict[str, Any] = {"context": 64, "chunk": 64}
    with sala_compile.load(path, speculate=2, draft=draft, **sizes) as model:
        assert model.draft is not None
        needed = model.plan.total_bytes, model.draft.plan.total_bytes
    with sala_compile.load(path, speculate=2, draft=draft, memory=sum(needed), **sizes):
        pass
    with pytest.raises(MemoryBudgetError):
        sala_compile.load(path, speculate=2, draft=draft, memory=sum(needed) - 1, **sizes)


@dataclass
class Files:
    """An artifact of which only its name, its tokenizer and its vocabulary are looked at."""

    name: str
    core: tokenizers.Tokenizer | None = None
    vocabulary: int = 300
    files: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.files = {} if self.core is None else {"tokenizer.json": self.core.to_str().encode()}
        self.directory = Path(self.name)
        self.manifest = self
        self.model = self

    def has(self, name: str) -> bool:
        return name in self.files

    def read_bytes(self, name: str) -> bytes:
        return self.files[name]


def _compared(one: Files, two: Files) -> None:
    require_same_tokens(cast("Artifact", one), cast("Artifact", two))


def test_tokenizers_are_compared_token_by_token():
    merged = byte_level([("a", "b")])
    _compared(Files("a.sala", merged), Files("b.sala", byte_level([("a", "b")]), 320))
    other = byte_level([("a", "c")])
    with pytest.raises(RequestError, match=r"token 256 is 'ac' in b.sala and 'ab' in a.sala"):
        _compared(Files("a.sala", merged), Files("b.sala", other))
    more = byte_level([("a", "b")])
    more.add_tokens(["zz"])
    with pytest.raises(RequestError, match=r"is 'zz' in b.sala and no token in a.sala"):
        _compared(Files("a.sala", merged), Files("b.sala", more))
    with pytest.raises(RequestError, match=r"b.sala has no tokenizer"):
        _compared(Files("a.sala", merged), Files("b.sala"))
    _compared(Files("a.sala"), Files("b.sala"))
    with pytest.raises(RequestError, match=r"b.sala has 301 token ids"):
        _compared(Files("a.sala"), Files("b.sala", vocabulary=301))
