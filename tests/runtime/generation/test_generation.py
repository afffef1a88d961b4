"""The loop that makes an answer: what ends it, what it reports."""

from collections.abc import Sequence

import numpy as np
import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.generation import (
    Finish,
    Generation,
    GenerationOptions,
    Progress,
)
from sala_compile.runtime.generation.sampling import SamplingOptions
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import byte_level, llama, token_id

VOCABULARY = 260


class Script:
    """A source whose most likely tokens are given in advance."""

    def __init__(self, answer: Sequence[int], context: int = 1000) -> None:
        self.answer = list(answer)
        self.appended: list[int] = []
        self.context = context

    @property
    def remaining(self) -> int:
        return self.context - len(self.appended)

    @property
    def draft_room(self) -> int:
        return 0

    @property
    def last_logits(self) -> np.ndarray:
        return self._row()

    @property
    def samples(self) -> bool:
        return False

    @property
    def samples_min_p(self) -> bool:
        return False

    def append(
        self,
        token_ids: Sequence[int],
        progress: Progress | None = None,
        *,
        generated: bool | None = None,
    ) -> np.ndarray:
        assert generated is bool(self.appended)
        self.appended += token_ids
        if progress is not None:
            progress(len(token_ids))
        return self._row()

    def _row(self) -> np.ndarray:
        row = np.zeros(VOCABULARY, dtype=np.float32)
        row[self.answer.pop(0)] = 9
        return row


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(byte_level(), {})


def _generation(source: Script, **options: object) -> Generation:
    return Generation(source, [7, 8], VOCABULARY, GenerationOptions(**options))


def test_the_last_token_is_not_computed_on():
    source = Script([3, 4, 5, 6])
    generation = _generation(source, max_new_tokens=3)
    assert list(generation.tokens()) == generation.token_ids == [3, 4, 5]
    assert source.appended == [7, 8, 3, 4]
    assert generation.finish is Finish.MAX_TOKENS
    assert generation.prefill_rate > 0
    assert generation.decode_rate > 0


def test_end_of_sequence_ends_unless_ignored():
    ended = _generation(Script([3, 2, 5, 6]), eos=(2,), max_new_tokens=4)
    assert (list(ended.tokens()), ended.finish) == ([3, 2], Finish.END_OF_SEQUENCE)
    ignored = _generation(Script([3, 2, 5, 6]), eos=(2,), max_new_tokens=4, ignore_eos=True)
    assert list(ignored.tokens()) == [3, 2, 5, 6]


def test_the_token_that_ended_an_answer_is_no_part_of_it(tokenizer: Tokenizer):
    letters = tokenizer.encode("a b")
    end = letters[-1]  # an ordinary token, which would be printed
    ended = _generation(Script(letters), eos=(end,), max_new_tokens=9, stop=("b",))
    assert ("".join(ended.text(tokenizer)), ended.finish) == ("a ", Finish.END_OF_SEQUENCE)
    assert ended.token_ids == letters
    ignored = _generation(Script(letters), eos=(end,), max_new_tokens=3, ignore_eos=True)
    assert "".join(ignored.text(tokenizer)) == "a b"


def test_characters_of_bytes_come_whole_behind_a_prompt_that_ends_in_one():
    tokenizer = Tokenizer(llama(), {})
    ids = [token_id(tokenizer.core, f"<0x{byte:02X}>") for byte in "\u4f60\u597d!".encode()]
    source, options = Script(ids[3:]), GenerationOptions(max_new_tokens=4, stop=("!",))
    answer = Generation(source, ids[:3], 300, options)
    source._row = lambda: np.eye(300, dtype=np.float32)[source.answer.pop(0)]
    assert list(answer.text(tokenizer)) == ["\u597d"]
    assert answer.finish is Finish.STOP_STRING


def test_a_full_context_ends():
    generation = _generation(Script([3, 4, 5, 6], context=3), max_new_tokens=4)
    assert list(generation.tokens()) == [3, 4]
    assert generation.finish is Finish.CONTEXT


def test_a_stop_string_ends_without_being_shown(tokenizer: Tokenizer):
    generation = _generation(Script(tokenizer.encode("one. Two. x")), stop=(". T",))
    assert "".join(generation.text(tokenizer)) == "one"
    assert generation.finish is Finish.STOP_STRING
    assert tokenizer.decode(generation.token_ids) == "one. T"


def test_text_that_only_began_a_stop_string_is_shown(tokenizer: Tokenizer):
    generation = _generation(Script(tokenizer.encode("a.b")), stop=(".bc",), max_new_tokens=3)
    assert "".join(generation.text(tokenizer)) == "a.b"
    assert generation.finish is Finish.MAX_TOKENS


def test_pieces_are_never_empty(tokenizer: Tokenizer):
    answer = tokenizer.encode("a\u4f60b")
    generation = _generation(Script(answer), max_new_tokens=len(answer))
    assert list(generation.text(tokenizer)) == ["a", "\u4f60", "b"]


def test_the_prompt_counts_for_the_repetition_penalty():
    source = Script([])
    source._row = lambda: np.where(np.arange(VOCABULARY) == 7, 9, 8).astype(np.float32)
    sampling = SamplingOptions(repetition_penalty=2.0)
    generation = _generation(source, max_new_tokens=1, sampling=sampling)
    assert list(generation.tokens()) == [0]


def test_progress_and_refusal():
    seen: list[int] = []
    generation = Generation(
        Script([3]), [7, 8], VOCABULARY, GenerationOptions(max_new_tokens=1), seen.append
    )
    list(generation.tokens())
    assert seen == [2]


@pytest.mark.parametrize("count", [0, 1.5, "many", True])
def test_the_length_of_an_answer_is_a_whole_number(count: object):
    with pytest.raises(RequestError, match="max_new_tokens"):
        GenerationOptions(max_new_tokens=count)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("stop", ["", 5, None])
def test_stop_strings_are_text(stop: object):
    with pytest.raises(RequestError, match="stop string"):
        GenerationOptions(stop=(stop,))  # pyright: ignore[reportArgumentType]
