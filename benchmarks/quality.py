"""What every saving costs in answers: perplexity on real texts, and questions on long texts.

    python -m benchmarks.quality

SmolLM2-135M, as `make chat` gets it, reads texts that are on this machine; it and the trained
example (`examples/needle`) answer questions whose answer is hidden in a long text: a needle at
several depths, one of 16 keys, variables that name others. Each row is a model compiled with other
options: element types, integers in the weights, in the activations, in the pages of the cache.
Predictions are compared with those of the model in float32.

Every row is kept in --work as soon as it was measured: called again, a run continues with the next
one. --stop-after SECONDS ends a run in time; --compiled measures only what is compiled already.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import click
from rich.console import Console

import sala_compile
from benchmarks.answers.measure_text import measure_text
from benchmarks.answers.quality_models import MODELS, QualityModel
from benchmarks.answers.quality_report import PREDICTIONS, answers_name, brief, markdown
from benchmarks.answers.questions import SEED, TASKS, ask
from benchmarks.answers.real_texts import real_texts
from benchmarks.machine import machine_document
from benchmarks.markdown import write_report
from benchmarks.models.row_record import RowRecord
from sala_compile.runtime.common.threads import available_cpus
from sala_compile.runtime.model import Model

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "numpy")
TOKENS = 2048
"""Of each real text, from its beginning."""


@click.command(help=__doc__.partition("\n")[0])
@click.option("--model", "names", multiple=True, type=click.Choice([m.name for m in MODELS]))
@click.option(
    "--stop-after", type=float, default=inf, metavar="SECONDS", help="Begin no row after that time."
)
@click.option("--compiled", is_flag=True, help="Leave out what is not compiled yet.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/quality"))
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "quality.json")
def main(
    names: tuple[str, ...], stop_after: float, compiled: bool, work: Path, output: Path
) -> None:
    """Measure the rows that are missing, write and print the tables."""
    console, end = Console(stderr=True), time.monotonic() + stop_after
    work.mkdir(parents=True, exist_ok=True)
    texts = [[text.name, text.origin, text.digest] for text in real_texts()]
    asked = {"texts": texts, "tokens": TOKENS, "seed": SEED}
    record = RowRecord(work / "record.json", asked)
    for model in MODELS:
        for saving in model.savings:
            known = (work / f"{model.name}-{saving}.sala").exists() or not compiled
            wanted = known and model.name in (names or [each.name for each in MODELS])
            for part, measure in _parts(model, work).items():
                name = f"{saving}, {part}"
                late = time.monotonic() >= end
                if not wanted or late or record.has(model.name, name):
                    continue
                with _loaded(model, saving, work) as loaded:
                    record.add(model.name, name, measure(loaded))
                console.print(f"{model.name}, {name}: {brief(record.row(model.name, name))}")
    document = {**machine_document(PACKAGES, available_cpus()), **record.document}
    write_report(output, document, markdown)
    print(markdown(document))


def _loaded(model: QualityModel, saving: str, work: Path) -> Model:
    path = model.artifact(saving, work)
    return sala_compile.load(path, context=max(model.lengths) * 2, sequences=2)


def _predictions(loaded: Model, model: QualityModel, work: Path) -> dict[str, Any]:
    """Each text, and the perplexity of all together."""
    if model.name == "needle":  # its vocabulary is that of its texts
        given = {"haystack": next(TASKS[1].texts(2 * TOKENS, 1)).text}
    else:
        given = {text.name: text.text for text in real_texts()}
    found: dict[str, dict[str, float]] = {}
    for name, text in given.items():
        ids = loaded.tokenizer.encode(text[: 8 * TOKENS])[:TOKENS]
        kept = work / f"{model.name}-{name.replace(' ', '-')}.npy"
        found[name] = measure_text(loaded, ids, kept).document
    return {"texts": found}


def _answers(loaded: Model, model: QualityModel, length: int) -> dict[str, Any]:
    """How many answers of each task are right, by depth."""
    scores: dict[str, Any] = {}
    for task in TASKS:
        found = ask(loaded, task.texts(length, model.texts if task.keys == 1 else 2))
        scores[task.name] = asdict(found)
    return scores


def _parts(model: QualityModel, work: Path) -> dict[str, Callable[[Model], dict[str, Any]]]:
    """The rows of a model with one saving."""
    answers = {
        answers_name(length): partial(_answers, model=model, length=length)
        for length in model.lengths
    }
    return {PREDICTIONS: partial(_predictions, model=model, work=work), **answers}


if __name__ == "__main__":
    main()
