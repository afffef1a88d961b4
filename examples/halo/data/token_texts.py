"""Texts as token ids: files of them, files of text, and which windows a step reads."""

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from examples.halo.files import write_whole
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer

HELD_OUT = 0.02
"""The share of a source's tokens that no training reads: its end."""


@dataclass(frozen=True, slots=True)
class TokenSource:
    """Token ids of one file: [tokens], a stream, or [texts, tokens], whole texts."""

    name: str
    ids: np.ndarray

    def split(self) -> tuple["TokenSource", "TokenSource"]:
        """What is trained on, and what is held out: at least one text of [texts, tokens]."""
        held = max(1, int(len(self.ids) * HELD_OUT))
        return (
            TokenSource(self.name, self.ids[:-held]),
            TokenSource(self.name, self.ids[-held:]),
        )

    def places(self, length: int) -> int:
        """How many windows of `length` tokens there are; 0 if it is too short."""
        if self.ids.ndim == 2:
            return len(self.ids) if self.ids.shape[1] >= length else 0
        return max(0, len(self.ids) - length + 1)

    def window(self, place: int, length: int) -> np.ndarray:
        """A window: from any token of a stream, the beginning of a text."""
        if self.ids.ndim == 2:
            return self.ids[place, :length]
        return self.ids[place : place + length]


@dataclass(frozen=True, slots=True)
class TokenTexts:
    """Several sources; a window is of each with a chance by its size in tokens."""

    sources: tuple[TokenSource, ...]

    @property
    def tokens(self) -> int:
        """Of all sources."""
        return sum(source.ids.size for source in self.sources)

    def split(self) -> tuple["TokenTexts", "TokenTexts"]:
        """What is trained on, and the held-out end of every source."""
        pairs = [source.split() for source in self.sources]
        return TokenTexts(tuple(a for a, _ in pairs)), TokenTexts(tuple(b for _, b in pairs))

    def batch(self, key: Sequence[int], texts: int, length: int) -> torch.Tensor:
        """Windows int64 [texts, length]; the same key, of whole numbers, gives the same ones.

        Where sources have whole texts of exactly that length, all are of those.
        Raises RequestError where every source is shorter.
        """
        fitting = [source for source in self.sources if source.places(length)]
        if not fitting:
            longest = max((source.ids.shape[-1] for source in self.sources), default=0)
            raise RequestError(
                f"no source has {length} tokens in a row",
                where="--data",
                expected=f"texts of {length} tokens and more; the longest has {longest}",
                fix="add longer texts, or ask for shorter ones with --length and --long-length",
            )
        fitting = [x for x in fitting if x.ids.ndim == 2 and x.ids.shape[1] == length] or fitting
        generator = np.random.default_rng(list(key))
        sizes = np.array([source.ids.size for source in fitting], np.float64)
        rows = []
        for source in generator.choice(len(fitting), texts, p=sizes / sizes.sum()):
            place = int(generator.integers(fitting[source].places(length)))
            rows.append(fitting[source].window(place, length))
        return torch.from_numpy(np.stack(rows).astype(np.int64))


def read_tokens(
    paths: Sequence[Path],
    tokenizer: Tokenizer | None,
    end: int | None,
    folder: Path,
    vocabulary: int,
) -> TokenTexts:
    """The sources of files and folders; what is encoded is kept in `folder` for the next time.

    `.npy` files hold integers [tokens] or [texts, tokens]. Files of text, and those of a folder,
    become one stream of each path; a text ends with the token `end`, if there is one.
    """
    return TokenTexts(
        tuple(
            _from_file(path, vocabulary)
            if path.suffix == ".npy"
            else _encoded(number, path, tokenizer, end, folder)
            for number, path in enumerate(paths)
        )
    )


def _from_file(path: Path, vocabulary: int) -> TokenSource:
    found = np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
    is_ids = found is not None and found.dtype.kind in "iu" and found.ndim in (1, 2) and found.size
    if found is None or not is_ids or found.min() < 0 or found.max() >= vocabulary:
        raise RequestError(
            "the file has no token ids of the teacher",
            where=str(path),
            expected=f"integers below {vocabulary}, [tokens] or [texts, tokens]",
            fix="encode texts with the teacher's tokenizer, or name the texts themselves",
        )
    return TokenSource(path.name, found)


def _encoded(
    number: int, path: Path, tokenizer: Tokenizer | None, end: int | None, folder: Path
) -> TokenSource:
    kept = folder / f"{number}-{path.name}.npy"
    if not kept.is_file():
        assert tokenizer is not None, "texts need a tokenizer"
        ids: list[int] = []
        for text in _texts(path):
            ids += tokenizer.encode(text, special=False)
            ids += [] if end is None else [end]
        if not ids:
            raise RequestError(
                "there is no text",
                where=str(path),
                expected="a file of text or tokens, or a folder with texts (UTF-8, also .gz)",
            )
        folder.mkdir(parents=True, exist_ok=True)
        with write_whole(kept) as file:
            np.save(file, np.array(ids, np.uint32))
    return TokenSource(path.name, np.load(kept, mmap_mode="r"))


def _texts(path: Path) -> Iterator[str]:
    """What is prose of a file or a folder: UTF-8, unpacked, no markup; each file once."""
    is_file = path.is_file()
    found = [path] if is_file else [each for each in path.rglob("*") if each.is_file()]
    for file in sorted({each.resolve() for each in found}):
        stored = file.read_bytes()
        if file.suffix == ".gz":
            stored = gzip.decompress(stored)
        text = stored.decode("utf-8", errors="replace" if is_file else "ignore")
        is_prose = b"\0" not in stored and not text.lstrip().startswith("<")
        if is_file or (is_prose and len(text.encode()) == len(stored)):
            yield text
