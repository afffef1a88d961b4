"""Writes the page of a conversion: what it cost, what it gave, and what the student can do."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from examples.halo.data.token_texts import TokenTexts
from examples.halo.files import read_json, write_whole
from examples.halo.report.extrapolation import GOALS, power_law
from examples.halo.report.samples import samples_section
from examples.halo.report.stage_results import WHAT, StageResults, curve_values, read_results

PAGE, MEASURED = "README.md", "measured.json"
LENGTHS = (512, 1024, 2048, 4096, 8192)
CONTEXTS = (4096, 32768, 131072)
Rows = Sequence[Mapping[str, Any]]


def write_report(
    work: Path,
    *,
    measure: bool = True,
    lengths: Sequence[int] = LENGTHS,
    contexts: Sequence[int] = CONTEXTS,
) -> Path:
    """Write `work`/report/README.md with its pictures; the page.

    With `measure` the teacher and the finished student are compiled and measured, unless that was
    done; recall at `lengths`, memory and rates at `contexts`, all in tokens.
    """
    results = read_results(work)
    folder = work / "report"
    folder.mkdir(exist_ok=True)
    parts = [_head(results), _stages(results)]
    if results.curves:
        from examples.halo.report.pictures import draw_curves

        draw_curves(results, folder / "curves.png")
        parts += [
            "![What each stage trained on, over its tokens](curves.png)",
            *_extrapolated(results),
        ]
    if results.choice:
        from examples.halo.report.pictures import draw_layers

        draw_layers(results, folder / "layers.png")
        parts.append(_layers(results))
    if measure and (work / "student").is_dir():
        found = _measured(results, folder / MEASURED, lengths, contexts)
        from examples.halo.report.pictures import draw_recall

        draw_recall(found["recall"], folder / "recall.png")
        parts += [
            _recall(found["recall"]),
            _rates(found["rates"]),
            *samples_section(found["samples"]),
        ]
    with write_whole(folder / PAGE) as file:
        file.write(("\n\n".join(parts) + "\n").encode())
    return folder / PAGE


def _head(results: StageResults) -> str:
    options = results.options
    teacher = Path(options["teacher"]).name
    return (
        f"# {teacher} as {options['student']}\n\n"
        f"{results.tokens:,} tokens of training in {results.hours:.2f} hours (seed "
        f"{options['seed']}, products in {options['precision']}); evaluations and samples of the "
        "teacher not counted. Divergence is KL(teacher ‖ student) in nats a token, perplexity that "
        f"of held-out texts of {options['length']} tokens."
    )


def _stages(results: StageResults) -> str:
    lines = [
        "| stage | tokens | hours | divergence | perplexity (teacher) | same likeliest token | "
        "error of a layer (median) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for stage, found in results.evaluations.items():
        curve = results.curves.get(stage)
        cost = f"{curve[-1]['tokens']:,} | {curve[-1]['seconds'] / 3600:.2f}" if curve else " | "
        perplexity = f"{found['perplexity']:.2f} ({found['teacher_perplexity']:.2f})"
        lines.append(
            f"| {stage}: {WHAT[stage]} | {cost} | {found['divergence']:.3f} | {perplexity} | "
            f"{100 * found['agreement']:.1f} % | {_middle(found)} |"
        )
    return "\n".join(lines)


def _layers(results: StageResults) -> str:
    kept = ", ".join(map(str, results.choice["layers"]))
    reasons = {
        "recall": "linear, they cost the most recall for the prose that they cost",
        "divergence": "put back alone, they bring the all-linear student nearest to the teacher",
        "given": "they were given",
    }
    return (
        f"Layers {kept} stay attention: {reasons[results.choice['score']]}. The error of a layer "
        "is that of its linear form on the teacher's own input, squared, in the variance of the "
        "attention in its place, on held-out texts.\n\n![Scores and errors of layers](layers.png)"
    )


def _middle(evaluation: Mapping[str, Any]) -> str:
    errors = evaluation.get("layer_errors")
    return f"{statistics.median(errors):.3f}" if errors else ""


def _extrapolated(results: StageResults) -> list[str]:
    """A sentence for each curve that falls, kept apart from what was measured."""
    found: list[str] = []
    for stage, lines in results.curves.items():
        name, tokens, values = curve_values(lines)
        law = power_law(tokens, values)
        goals = [goal for goal in GOALS if goal > tokens[-1]]
        if law is not None and goals:
            ahead = " and ".join(
                f"{law.at(goal):.3f} after {goal // 10**6} million" for goal in goals
            )
            found.append(f"{stage}: {name} {law.at(tokens[-1]):.3f} now, {ahead}")
    if not found:
        return []
    return [
        "Extrapolated, not measured (power laws through the curves without their first tenth, "
        "which know nothing of the rates' fall): " + "; ".join(found) + "."
    ]


def _recall(rows: Rows) -> str:
    lengths = sorted({row["length"] for row in rows})
    lines = [
        "Values found in texts that hide pairs of keys and values in held-out prose, by length in "
        "tokens, through the compiled artifacts:",
        "",
        "| task | model | " + " | ".join(f"{length:,}" for length in lengths) + " |",
        "|---|---|" + "---:|" * len(lengths),
    ]
    by_place = {(row["task"], row["model"], row["length"]): row["found"] for row in rows}
    for task, model in sorted({(row["task"], row["model"]) for row in rows}):
        shares = (f"{100 * by_place[task, model, length]:.0f} %" for length in lengths)
        lines.append(f"| {task} | {model} | " + " | ".join(shares) + " |")
    return "\n".join([*lines, "", "![Values found by length](recall.png)"])


def _rates(rows: Rows) -> str:
    lines = [
        "Memory of one sequence, weights included, and tokens decoded a second after a state of "
        "random numbers, the models in turns:",
        "",
        "| tokens | model | memory | tokens a second |",
        "|---:|---|---:|---:|",
    ]
    for row in rows:
        size = f"{row['bytes'] / 2**20:,.0f} MiB"
        lines.append(
            f"| {row['context']:,} | {row['model']} | {size} | {row['tokens_per_second']:.1f} |"
        )
    return "\n".join(lines)


def _measured(
    results: StageResults, path: Path, lengths: Sequence[int], contexts: Sequence[int]
) -> dict[str, Rows]:
    if path.is_file():
        return read_json(path)
    from examples.halo.artifacts import compiled
    from examples.halo.pipeline import prepared_texts
    from examples.halo.report.measurements import measure

    work, longest = results.work, max(*lengths, *contexts)
    source, texts = prepared_texts(results)
    models = {
        "teacher": compiled(source, work / "report" / "teacher.sala", longest),
        "student": compiled(work / "student", work / "report" / "student.sala", longest),
    }
    prose: TokenTexts = texts.split()[1]
    return measure(path, models, prose, lengths, contexts, int(results.options["seed"]))
