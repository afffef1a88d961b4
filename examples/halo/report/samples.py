"""What teacher and student write after the beginnings of held-out texts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.halo.artifacts import loaded
from examples.halo.data.token_texts import TokenTexts
from sala_compile.runtime.errors import RequestError

SAMPLES, BEGINNING, WRITTEN = 4, 40, 80
"""How many of each model, tokens that are read, tokens that are written."""
TEMPERATURE = 0.7
_MARKS = "\\`*_<>[]#|"


def sample_rows(models: Mapping[str, Path], prose: TokenTexts, seed: int) -> list[dict[str, Any]]:
    """A row for each text and artifact, with `prompt` and `text`; none without a tokenizer."""
    rows: list[dict[str, Any]] = []
    beginnings = prose.batch((seed, 11), SAMPLES, BEGINNING).tolist()
    for name, artifact in models.items():
        with loaded(artifact, BEGINNING + WRITTEN + 1) as model:
            try:
                tokenizer = model.tokenizer
            except RequestError:
                return []
            for number, ids in enumerate(beginnings):
                sampling = {"temperature": TEMPERATURE, "seed": seed + number}
                new = model.generate(ids, WRITTEN, ignore_eos=True, **sampling)
                texts = {"prompt": tokenizer.decode(ids), "text": tokenizer.decode(new)}
                rows.append({"sample": number, "model": name, **texts})
    return sorted(rows, key=lambda row: row["sample"])


def samples_section(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A part of the page: each beginning, and what the models made of it."""
    if not rows:
        return []
    first = rows[0]["model"]
    lines = [
        "What both write after the beginnings of held-out texts, drawn at temperature "
        f"{TEMPERATURE:g}:"
    ]
    for row in rows:
        if row["model"] == first:
            lines += ["", f"> {_plain(row['prompt'])} ...", ""]
        lines.append(f"- {row['model']}: {_plain(row['text'])}")
    return ["\n".join(lines)]


def _plain(text: str) -> str:
    """One line that Markdown shows as it is."""
    return "".join(f"\\{each}" if each in _MARKS else each for each in " ".join(text.split()))
