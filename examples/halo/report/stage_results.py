"""What the stages of a conversion left in its work folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.halo.files import read_json, read_lines
from examples.halo.options import OPTIONS
from examples.halo.stages.alignment import STAGE as ALIGNED
from examples.halo.stages.distillation import DISTILLED, TUNED
from examples.halo.stages.selection import CHOICE
from examples.halo.stages.selection import STAGE as SELECTED
from examples.halo.stages.weight_transfer import EVALUATION
from examples.halo.stages.weight_transfer import STAGE as TRANSFERRED
from examples.halo.training.stage_training import CURVE
from sala_compile.runtime.errors import RequestError

STAGES = (TRANSFERRED, ALIGNED, SELECTED, DISTILLED, TUNED)
WHAT = {
    TRANSFERRED: "weights copied, all layers linear",
    ALIGNED: "each linear layer trained by itself",
    SELECTED: "some layers attention again, without rotation",
    DISTILLED: "all weights trained on the teacher's distributions",
    TUNED: "all weights trained on long texts",
}
Line = dict[str, Any]
VALUES = ("error", "divergence", "loss")
"""What stages train on."""


def curve_values(lines: Sequence[Line]) -> tuple[str, list[float], list[float]]:
    """What a stage trained on: its name, the tokens of each step, and the values."""
    name = next(value for value in VALUES if value in lines[0])
    return name, [line["tokens"] for line in lines], [line[name] for line in lines]


@dataclass(frozen=True, slots=True)
class StageResults:
    """Options, evaluations and curves by stage, and the choice of layers; {} where missing."""

    work: Path
    options: dict[str, Any]
    evaluations: dict[str, dict[str, Any]]
    curves: dict[str, list[Line]]
    choice: dict[str, Any]

    @property
    def tokens(self) -> int:
        """Tokens of training so far."""
        return sum(lines[-1]["tokens"] for lines in self.curves.values())

    @property
    def hours(self) -> float:
        """Hours of training so far, without evaluations."""
        return sum(lines[-1]["seconds"] for lines in self.curves.values()) / 3600


def read_results(work: Path) -> StageResults:
    """Read a work folder. Raises RequestError for a folder that no conversion has written to."""
    if not (work / OPTIONS).is_file():
        raise RequestError(
            "there is no conversion in the folder",
            where=str(work),
            expected=f"{OPTIONS}, which convert writes",
            fix="name the --work folder of a conversion",
        )
    found = {stage: work / stage / EVALUATION for stage in STAGES}
    curves = {stage: read_lines(work / stage / CURVE) for stage in STAGES}
    choice = work / SELECTED / CHOICE
    return StageResults(
        work,
        read_json(work / OPTIONS),
        {stage: read_json(path) for stage, path in found.items() if path.is_file()},
        {stage: lines for stage, lines in curves.items() if lines},
        read_json(choice) if choice.is_file() else {},
    )
