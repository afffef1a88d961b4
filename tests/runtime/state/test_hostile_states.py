"""State files with right checksums and hostile contents: refused, or run the same every time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.runtime.artifact import AttentionPath
from sala_compile.runtime.errors import ArtifactError, SalaError, StateFileError
from sala_compile.runtime.model import Model
from sala_compile.runtime.state.attention_paths import PathRule, PathSpans
from tests.support import hostile
from tests.support.sequences import assert_unused, text
from tests.support.states import rewrite

LENGTH, CONTEXT = 150, 256
ROLES = ("keys", "values", "fine", "coarse", "recurrent_state")


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request: pytest.FixtureRequest, compiled):
    """A model twice: unwritten memory is NaN in one, zeros in the other."""
    path = compiled(request.param)
    with (
        sala_compile.load(path, context=CONTEXT, batch=2, poison=True) as one,
        sala_compile.load(path, context=CONTEXT, batch=2, poison=False) as other,
    ):
        yield one, other


@pytest.fixture
def saved(pair: tuple[Model, Model], tmp_path: Path) -> Path:
    """The state of a text that is sparse from now on."""
    path = tmp_path / "text.sala-state"
    with pair[0].sequence() as sequence:
        sequence.append(text(pair[0], LENGTH))
        sequence.save(path)
    return path


def _continued(model: Model, path: Path) -> bytes:
    """What a restored state leads to: bits of logits, and the class of an error."""
    found = b""
    with model.restore(path) as sequence:
        for more in ([5], [6, 7, 8], [9]):
            try:
                found += sequence.append(more).tobytes()
            except ArtifactError as error:
                found += str(error).encode()
        assert len(sequence) == LENGTH + 5
    assert_unused(model)
    return found


@pytest.mark.parametrize("name", hostile.NAMES)
@pytest.mark.parametrize("share", [1.0, 0.01])
def test_any_numbers_in_a_state_give_the_same_bits_every_time(
    pair: tuple[Model, Model], saved: Path, name: str, share: float
) -> None:
    whole = saved.read_bytes()
    for role in ROLES:

        def spoil(section: str, words: np.ndarray, role: str = role) -> None:
            if section.endswith(f".{role}"):
                element = Element.BF16 if words.itemsize == 2 else Element.F32
                hostile.fill(words, name, element, share)

        saved.write_bytes(whole)
        rewrite(saved, contents=spoil)
        found = [_continued(model, saved) for model in (*pair, *pair)]
        assert len(set(found)) == 1


def test_random_bytes_in_a_state_give_the_same_bits_every_time(
    pair: tuple[Model, Model], saved: Path
) -> None:
    whole = saved.read_bytes()
    for seed in range(4):
        random = np.random.default_rng(seed)

        def spoil(section: str, words: np.ndarray, random: np.random.Generator = random) -> None:
            if section.rpartition(".")[2] in ROLES:
                words[:] = random.integers(0, 2 ** (8 * words.itemsize), len(words))

        saved.write_bytes(whole)
        rewrite(saved, contents=spoil)
        assert len({_continued(model, saved) for model in pair}) == 1


def test_logits_that_are_no_numbers_are_told(pair: tuple[Model, Model], saved: Path) -> None:
    def spoil(section: str, words: np.ndarray) -> None:
        if section == "last_logits":
            words.view(np.float32)[3] = np.nan

    rewrite(saved, contents=spoil)
    with pair[0].restore(saved) as sequence:
        with pytest.raises(ArtifactError, match=f"token {LENGTH - 1}: 1 of"):
            _ = sequence.last_logits
        assert np.isfinite(sequence.append([1])).all()


@pytest.mark.parametrize("token", [-1, 2**31 - 1, 10**6])
def test_ids_of_no_token_are_refused(pair: tuple[Model, Model], saved: Path, token: int) -> None:
    def spoil(section: str, words: np.ndarray) -> None:
        if section == "token_ids":
            words.view(np.int32)[7] = token

    rewrite(saved, contents=spoil)
    with pytest.raises(StateFileError, match="ids of no token"):
        pair[0].restore(saved)
    assert_unused(pair[0])


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header.update({name: value})


def _section(number: int, name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["sections"][number].update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        _set("tokens", 0),
        _set("tokens", -1),
        _set("tokens", LENGTH - 1),
        _set("tokens", LENGTH + 1),
        _set("tokens", 10**30),
        _set("tokens", "many"),
        _set("spans", []),
        _set("spans", [[LENGTH, "none"]]),
        _set("spans", [[LENGTH, "dense"]]),
        _set("spans", [[LENGTH + 1, "sparse"]]),
        _set("spans", [[-1, "dense"], [LENGTH, "sparse"]]),
        _set("spans", [[70, "dense"], [LENGTH, "sparse"]]),
        _set("spans", [[9, "sparse"], [LENGTH, "sparse"]]),
        _set("spans", [[90, "sparse"], [20, "dense"], [LENGTH, "sparse"]]),
        _set("has_logits", False),
        _set("has_logits", 3),
        _set("sections", []),
        _set("model", "x" * 64),
        _set("model", "0" * 64),
        _set("family", "x" * 100_000),
        _set("surprise", 1),
        _section(0, "shape", [2**62, 2**62]),
        _section(0, "nbytes", 2**62),
        _section(0, "offset", 0),
        _section(3, "offset", 2**62),
        _section(3, "name", "token_ids"),
        _section(3, "dtype", "int8"),
        _section(3, "sha256", "0" * 64),
    ],
    ids=range(28),
)
def test_headers_that_make_no_sense_are_refused(
    pair: tuple[Model, Model], saved: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    rewrite(saved, change)
    with pytest.raises(SalaError) as caught:
        pair[0].restore(saved)
    assert len(str(caught.value)) < 1000
    assert_unused(pair[0])


def rule(*paths: tuple[int, str]) -> PathRule:
    return PathRule([AttentionPath(first_length=first, name=name) for first, name in paths])


@pytest.mark.parametrize(
    ("ends", "allowed"),
    [
        (((150, "sparse"),), True),
        (((63, "dense"), (150, "sparse")), True),
        (((30, "sparse"), (63, "dense"), (150, "sparse")), True),
        (((64, "dense"), (150, "sparse")), False),
        (((150, "dense"),), False),
        (((30, "sparse"), (150, "sparse")), False),
        (((90, "sparse"), (20, "dense"), (150, "sparse")), False),
        (((151, "sparse"),), False),
        ((), False),
    ],
)
def test_spans_are_those_that_calls_can_have_made(
    ends: tuple[tuple[int, str], ...], allowed: bool
) -> None:
    assert rule((0, "dense"), (64, "sparse")).allows(PathSpans(ends), 150) is allowed


def test_a_model_without_a_path_has_no_spans_of_it() -> None:
    dense, sparse = rule((0, "dense")), rule((0, "sparse"))
    assert not dense.allows(PathSpans(((150, "sparse"),)), 150)
    assert dense.allows(PathSpans(((150, "dense"),)), 150)
    assert not sparse.allows(PathSpans(((1, "dense"),)), 1)


def test_three_paths_follow_one_another() -> None:
    three = rule((0, "dense short"), (64, "sparse short"), (128, "sparse long"))
    found = [three.path(length) for length in (1, 63, 64, 127, 128, 10**9)]
    assert found == [*["dense short"] * 2, *["sparse short"] * 2, *["sparse long"] * 2]
    assert three.allows(PathSpans(((63, "dense short"), (127, "sparse short"))), 127)
    assert not three.allows(PathSpans(((63, "dense short"), (128, "sparse short"))), 128)
    assert three.allows(PathSpans(((30, "sparse long"), (127, "sparse short"))), 127)
