"""Stage 2: which layers stay attention."""

import json
from collections.abc import Callable, Sequence

import torch

from examples.halo.conversion import Conversion
from examples.halo.evaluation import mixers_of
from examples.halo.files import read_json, read_lines, write_json, write_whole
from examples.halo.layer_score import highest, kept_count, recall_scores
from examples.halo.losses import divergence
from examples.halo.options import Score
from examples.halo.recall_texts import RecallTexts, recall_texts
from examples.halo.stages.alignment import aligned_weights
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.stage_training import OutOfTime

STAGE = "2-selection"
SCORES, CHOICE = "scores.jsonl", "choice.json"
TEXTS, PAIRS = 16, 4
Line = dict[str, float]


def select_layers(conversion: Conversion, teacher: TorchDecoder) -> None:
    """Write the layers that stay attention, those of the options or those of the highest scores.

    A layer is scored once: what was scored before is read from the file of scores. OutOfTime
    after a layer where the clock has ended.
    """
    folder, options = conversion.folder(STAGE), conversion.options
    if (folder / CHOICE).is_file():
        return
    layers = len(teacher.parts.layers)
    if options.layers is not None:
        write_json(folder / CHOICE, {"layers": sorted(options.layers), "score": "given"})
        return
    aligned = conversion.placed(aligned_weights(conversion))
    student = conversion.decoder(conversion.config(()), aligned)
    measure = {Score.RECALL: _recall, Score.DIVERGENCE: _divergence}[options.score]
    with torch.no_grad(), conversion.products():
        lines = _measured(conversion, measure(conversion, teacher, student), layers)
    scores = score_of(options.score, lines)
    count = kept_count(layers, options.keep_ratio)
    choice = {
        "layers": highest(scores, count),
        "score": options.score.value,
        "scores": [float(each) for each in scores],
        "measured": lines,
    }
    write_json(folder / CHOICE, choice)


def chosen_layers(conversion: Conversion) -> list[int]:
    """The layers that stay attention."""
    return read_json(conversion.folder(STAGE) / CHOICE)["layers"]


def score_of(score: Score, lines: Sequence[Line]) -> Sequence[float]:
    """The score of every layer from what was measured of it."""
    if score is Score.RECALL:
        recall, prose = ([line[name] for line in lines] for name in ("recall", "prose"))
        return recall_scores(recall, prose).tolist()
    return [line["all_linear"] - line["restored"] for line in lines]


def _measured(conversion: Conversion, measure: Callable[[int], Line], layers: int) -> list[Line]:
    path = conversion.folder(STAGE) / SCORES
    lines = read_lines(path)
    for layer in range(len(lines), layers):
        lines.append({"layer": layer, **measure(layer)})
        with write_whole(path) as file:
            file.writelines((json.dumps(line) + "\n").encode() for line in lines)
        conversion.report(STAGE, {"step": layer + 1}, layers, float("nan"))
        if conversion.clock.is_over:
            raise OutOfTime
    return lines


def _recall(
    conversion: Conversion, teacher: TorchDecoder, student: TorchDecoder
) -> Callable[[int], Line]:
    """Of the model with one linear layer: how likely hidden values are, and the next of prose."""
    options = conversion.options
    key = (options.seed, 8)
    asked = recall_texts(conversion.held_out, key, TEXTS, options.length, PAIRS)
    asked = RecallTexts(asked.token_ids.to(options.device))
    prose = conversion.held_batches(options.length)

    def measure(layer: int) -> Line:
        recall = _likelihood(teacher, student, layer, asked.token_ids, asked)
        found = [_likelihood(teacher, student, layer, ids, None) for ids in prose]
        return {"recall": recall, "prose": sum(found) / len(found)}

    return measure


def _likelihood(
    teacher: TorchDecoder,
    student: TorchDecoder,
    layer: int,
    ids: torch.Tensor,
    asked: RecallTexts | None,
) -> float:
    """The mean probability of the right token: of hidden values, or of every next token."""
    final = teacher.final(ids, mixers=mixers_of(student, ids, [layer]))
    if asked is None:
        rows = final.reshape(*ids.shape, -1)[:, :-1].flatten(0, 1)
        targets = ids[:, 1:].flatten()
    else:
        rows, targets = asked.rows(final), asked.expected.flatten()
    likelihood = teacher.logits(rows).float().softmax(-1).gather(1, targets[:, None])
    return float(likelihood.mean())


def _divergence(
    conversion: Conversion, teacher: TorchDecoder, student: TorchDecoder
) -> Callable[[int], Line]:
    """The divergence of the all-linear student, and of the one with a layer put back."""
    layers = range(len(teacher.parts.layers))
    prose = conversion.held_batches(conversion.options.length)
    wanted = [teacher.final(ids) for ids in prose]

    def of(linear: Sequence[int]) -> float:
        found = [
            divergence(teacher, teacher.final(ids, mixers=mixers_of(student, ids, linear)),
                       teacher, final)
            for ids, final in zip(prose, wanted, strict=True)
        ]  # fmt: skip
        return float(sum(found)) / len(found)

    whole = of(layers)

    def measure(layer: int) -> Line:
        return {"all_linear": whole, "restored": of([each for each in layers if each != layer])}

    return measure
