"""The tables of the quality benchmark."""

from collections.abc import Iterable, Mapping
from math import exp
from typing import Any

from benchmarks.answers.measure_text import KEPT
from benchmarks.answers.quality_models import BASELINE, CALIBRATION, MODELS, QualityModel
from benchmarks.answers.questions import DEPTHS, TASKS
from benchmarks.markdown import Document, page, table

PREDICTIONS = "predictions"


def answers_name(length: int) -> str:
    """The row of the questions on texts of a length."""
    return f"answers at {length}"


def brief(row: Mapping[str, Any]) -> str:
    """A row in one line, while it is measured."""
    if "texts" in row:
        return f"perplexity {_perplexity(row):.4g}, divergence {_mean(row, 'divergence'):.3g}"
    return ", ".join(
        f"{name} {sum(score['right'])}/{sum(score['asked'])}" for name, score in row.items()
    )


def markdown(document: Document) -> str:
    """The page: one table of predictions and answers, and one by depth, for each model."""
    origins = ", ".join(
        f"{name} ({origin}, {digest})" for name, origin, digest in document["asked"]["texts"]
    )
    blocks: list[Any] = [
        "What each saving costs in answers. SmolLM2-135M-Instruct is taken with the values of its "
        "published file (Q4_1, the embedding Q8_0) in bfloat16: integers of `--quantize` are a "
        "second rounding, which the file as published has not. The needle model is the trained "
        "example, of 3.5 million parameters; beyond 512 tokens its sparse layers select blocks. "
        f"Integers are rounded with {CALIBRATION} tokens of the text of sala-compile (GPTQ); all "
        "else is as by default.",
        f"Perplexity: of the first {document['asked']['tokens']} tokens of each of these texts, "
        f"with their SHA-256: {origins}. Divergence: relative entropy of the predictions seen from "
        f"those of {BASELINE}, in thousandths of a nat, over every {KEPT}th; "
        "other: the share of these where another token is the likeliest. The needle model reads "
        "4096 tokens of its own kind of text, of which random words are most of the perplexity.",
        "Answers: right of all, greedy, every token of the value. A needle is one key in its text; "
        "16 keys: each is asked for; variables: what names another key, up to four steps. Empty "
        "cells were not measured.",
    ]
    for model in MODELS:
        rows = document["rows"].get(model.name, {})
        measured = [
            name for name in model.savings if any(row.startswith(f"{name}, ") for row in rows)
        ]
        if not measured:
            continue
        blocks += [f"## {model.name}", _answers_table(model, rows, measured)]
        blocks += [
            f"Needles and keys by depth, at {' and '.join(map(str, model.lengths))} tokens:",
            _depth_table(model, rows, measured),
        ]
    return page("What savings cost in answers", document, *blocks)


def _answers_table(
    model: QualityModel, rows: Mapping[str, Any], measured: Iterable[str]
) -> list[str]:
    texts = next(row["texts"] for row in rows.values() if "texts" in row)
    several = [*texts, *(["all"] if len(texts) > 1 else [])]
    head = ["options", *several, "divergence", "other"]
    head += [f"{task.name}, {length}" for task in TASKS for length in model.lengths]
    return table(head, [_cells(model, rows, name) for name in measured], texts=1)


def _cells(model: QualityModel, rows: Mapping[str, Any], saving: str) -> list[str]:
    found = rows.get(f"{saving}, {PREDICTIONS}")
    cells = [saving]
    if found is None:
        cells += ["", ""]
    else:
        texts = found["texts"]
        cells += [f"{exp(each['loss']):.4g}" for each in texts.values()]
        cells += [f"{_perplexity(found):.4g}"] if len(texts) > 1 else []
        cells += [f"{_mean(found, 'divergence') * 1e3:.3g}", f"{_mean(found, 'others'):.1%}"]
    for task in TASKS:
        for length in model.lengths:
            scores = rows.get(f"{saving}, {answers_name(length)}")
            score = None if scores is None else scores[task.name]
            cells.append("" if score is None else f"{sum(score['right'])}/{sum(score['asked'])}")
    return cells


def _depth_table(
    model: QualityModel, rows: Mapping[str, Any], measured: Iterable[str]
) -> list[str]:
    """Right answers of the tasks with keys of their own, of all lengths, by part of the text."""
    head = [
        "options",
        *(f"{part / DEPTHS:.0%} to {(part + 1) / DEPTHS:.0%}" for part in range(DEPTHS)),
    ]
    found: list[list[str]] = []
    for saving in measured:
        scores = [
            rows[name][task.name]
            for length in model.lengths
            for task in TASKS
            if not task.links and (name := f"{saving}, {answers_name(length)}") in rows
        ]
        right, asked = (
            [sum(score[key][part] for score in scores) for part in range(DEPTHS)]
            for key in ("right", "asked")
        )
        if scores:
            found.append([saving, *(f"{r}/{a}" for r, a in zip(right, asked, strict=True))])
    return table(head, found, texts=1)


def _mean(row: Mapping[str, Any], key: str) -> float:
    """Over the texts, which are of one length."""
    return sum(each[key] for each in row["texts"].values()) / len(row["texts"])


def _perplexity(row: Mapping[str, Any]) -> float:
    return exp(_mean(row, "loss"))
