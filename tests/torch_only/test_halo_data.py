"""Texts of a conversion: windows by seed, what is held out, recall texts, the teacher's samples."""

import gzip
from pathlib import Path

import numpy as np
import pytest

import sala_compile
from examples.halo.data.debian_texts import PACKAGES, debian_texts
from examples.halo.data.teacher_samples import write_samples
from examples.halo.data.token_texts import TokenSource, TokenTexts, read_tokens
from examples.halo.pipeline import convert
from examples.halo.recall_texts import KEY, VALUE, recall_texts
from examples.halo.training.stage_training import OutOfTime
from examples.needle.tokenizer import write_tokenizer
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.compiled import compile_checkpoint
from tests.support.halo_work import TEACHER, silent, small_options

STREAM = TokenSource("stream", np.arange(1000))
TEXTS = TokenSource("texts", np.arange(2000).reshape(50, 40) + 5000)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """The needle example's: words and bytes."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return Tokenizer.from_files(folder)


def test_windows_follow_from_the_key():
    texts = TokenTexts((STREAM, TEXTS))
    first = texts.batch((1, 2), 60, 30)
    assert np.array_equal(first, texts.batch((1, 2), 60, 30))
    assert not np.array_equal(first, texts.batch((1, 3), 60, 30))
    assert (np.diff(first, axis=1) == 1).all()
    begins = first[:, 0].numpy()
    whole = begins >= 5000
    assert ((begins[whole] - 5000) % 40 == 0).all()
    assert 0.5 < whole.mean() < 0.85, "two thirds of the tokens are of the texts"


def test_whole_texts_of_the_length_are_preferred():
    texts = TokenTexts((STREAM, TEXTS))
    assert (texts.batch((0,), 20, 40).numpy() >= 5000).all()
    assert (texts.batch((0,), 20, 41).numpy() < 5000).all()
    with pytest.raises(RequestError, match="no source has 1001 tokens"):
        texts.batch((0,), 1, 1001)


def test_what_is_held_out_is_not_trained_on():
    kept, held = TokenTexts((STREAM, TEXTS)).split()
    for a, b in zip(kept.sources, held.sources, strict=True):
        assert not set(a.ids.flat) & set(b.ids.flat)
        assert b.ids.size > 0
    assert kept.tokens + held.tokens == 3000
    seen = kept.batch((0,), 500, 30).numpy()
    assert seen[seen < 5000].max() < 980
    assert seen.max() < 5000 + 49 * 40


def test_texts_are_encoded_once(tmp_path: Path, tokenizer: Tokenizer):
    folder = tmp_path / "texts"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("The wind blew.", encoding="utf-8")
    (folder / "inner" / "b.gz").write_bytes(gzip.compress(b"The rain fell."))
    (folder / "inner" / "same.txt").symlink_to(folder / "a.txt")
    (folder / "page.html").write_text("<html>no prose</html>")
    (folder / "data.bin").write_bytes(b"\0\1\2")
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    found = read_tokens([folder], tokenizer, 2, tmp_path / "kept", 772)
    (source,) = found.sources
    expected = [
        *tokenizer.encode("The wind blew.", special=False), 2,
        *tokenizer.encode("The rain fell.", special=False), 2,
    ]  # fmt: skip
    assert source.ids.tolist() == expected
    again = read_tokens([folder], None, 2, tmp_path / "kept", 772)
    assert again.sources[0].ids.tolist() == expected
    (tmp_path / "none").mkdir()
    with pytest.raises(RequestError, match="there is no text"):
        read_tokens([tmp_path / "none"], tokenizer, 2, tmp_path / "other", 772)


def test_recall_texts_ask_for_what_they_said():
    prose = TokenTexts((TokenSource("prose", np.random.default_rng(0).integers(0, 500, 9000)),))
    asked = recall_texts(prose, (3, 4), texts=12, length=120, pairs=5)
    assert asked.token_ids.shape == (12, 120)
    for ids, value in zip(asked.token_ids.numpy(), asked.expected.numpy(), strict=True):
        key = ids[-KEY - VALUE : -VALUE]
        said = np.lib.stride_tricks.sliding_window_view(ids[: -KEY - VALUE], KEY + VALUE)
        hits = [window[KEY:] for window in said if np.array_equal(window[:KEY], key)]
        assert len(hits) == 1
        assert np.array_equal(hits[0], value)
    rows = asked.rows(asked.token_ids.reshape(-1, 1)).reshape(12, VALUE)
    assert np.array_equal(rows, asked.token_ids[:, -VALUE - 1 : -1])
    same = recall_texts(prose, (3, 4), texts=12, length=120, pairs=5)
    assert np.array_equal(same.token_ids, asked.token_ids)
    few = TokenTexts((TokenSource("few", np.arange(200) % 7),))
    with pytest.raises(RequestError, match="have 7 different ones"):
        recall_texts(few, (0,), texts=1, length=120, pairs=5)


def test_packages_have_texts_where_they_are_installed(tmp_path: Path):
    assert debian_texts(tmp_path) == {}
    place = tmp_path / PACKAGES["fortunes"][0]
    place.mkdir(parents=True)
    assert debian_texts(tmp_path) == {"fortunes": place}


def test_the_readme_names_the_packages():
    readme = Path(__file__).parents[2] / "examples" / "halo" / "README.md"
    text = readme.read_text(encoding="utf-8")
    assert all(f"`{package}`" in text for package in PACKAGES)


def test_samples_are_the_teachers(tmp_path: Path):
    """Texts that begin with its first token, end with its last, and follow from the seed."""
    artifact = tmp_path / "teacher.sala"
    compile_checkpoint(TEACHER, artifact, context=64)
    config = {"bos_token_id": 1, "eos_token_id": [2], "vocab_size": 131}
    with sala_compile.load(artifact, context=40, batch=3, chunk=40) as model:
        vocabulary = model.vocabulary
        first = write_samples(model, config, 0, 0, 300, texts=3)
        assert np.array_equal(first, write_samples(model, config, 0, 0, 300, texts=3))
        other = write_samples(model, config, 0, 1, 300, texts=3)
        assert not np.array_equal(first[:50], other[:50])
        assert len(first) >= 300
        assert first[0] == 1
        assert first.max() < vocabulary
        assert (first == 1).sum() >= len(first) / 40, "a text is at most the context"
        free = {"bos_token_id": 2, "eos_token_id": [2], "vocab_size": vocabulary}
        assert len(set(write_samples(model, free, 0, 0, 300, texts=3).tolist())) > 20


def test_without_data_the_teacher_writes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("examples.halo.pipeline.debian_texts", dict)
    sizes = {"data": (), "sample_tokens": 4000, "tokens": 1024}
    options = small_options(tmp_path, **sizes, minutes=0.0)
    with pytest.raises(OutOfTime):
        convert(options, silent)
    assert not list(options.work.glob("samples/*.npy")), "no time was left for the first file"
    student = convert(small_options(tmp_path, **sizes), silent)
    (samples,) = options.work.glob("samples/*.npy")
    assert len(np.load(samples)) >= 4000
    assert (student / "model.safetensors").is_file()
