"""What a conversion is asked for; what of it decides the weights is kept beside them."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from examples.halo.files import read_json, write_json
from examples.halo.student_config import StudentFamily
from examples.halo.training.schedule import Schedule
from sala_compile.runtime.errors import RequestError

OPTIONS = "options.json"
CLIP, LAYER_CLIP = 1.0, 0.2
"""Largest norms of gradients: of the whole student; of a layer's relative error, at alignment."""


class Precision(StrEnum):
    """What weights are kept in, and what matrices are multiplied in."""

    FLOAT32 = "float32"
    MIXED = "mixed"
    """Weights in float32, products in bfloat16."""
    BFLOAT16 = "bfloat16"
    """Both in bfloat16, and the optimiser's moments: a third of the memory of the others."""


class Score(StrEnum):
    """By which layers are chosen to stay attention."""

    RECALL = "recall"
    """HALO's: what the model loses in recall, against prose, when one layer becomes linear."""
    DIVERGENCE = "divergence"
    """How much nearer the teacher the all-linear student comes when one layer is put back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """One conversion. `tokens` is shared out to alignment, distillation and fine-tuning by `split`.

    Alignment reads each of its texts `passes` times, and counts all of them as tokens.
    A step has `parts` batches of `batch` texts of `length` tokens; in the last stage as many
    tokens, in texts of `long_length`. `rates` are the first learning rates of the three stages.
    `data` is empty for the teacher's own samples (`sample_tokens`) and Debian's texts.
    """

    teacher: Path
    student: StudentFamily
    work: Path
    data: tuple[Path, ...] = ()
    tokens: int = 20_000_000
    layers: tuple[int, ...] | None = None
    keep_ratio: float = 0.25
    score: Score = Score.RECALL
    seed: int = 0
    length: int = 512
    long_length: int = 4096
    batch: int = 8
    parts: int = 4
    passes: int = 1
    split: tuple[float, float, float] = (0.32, 1.0, 1.0)
    rates: tuple[float, float, float] = (1e-3, 1e-4, 1e-5)
    sample_tokens: int = 1_000_000
    precision: Precision = Precision.MIXED
    recompute: bool = True
    device: str = "cpu"
    threads: int | None = None
    minutes: float | None = None
    save_seconds: float = 120.0

    def check(self) -> None:
        """Raise RequestError for values out of their range."""
        sizes = ("tokens", "length", "long_length", "batch", "parts", "passes", "sample_tokens")
        for name in sizes:
            if getattr(self, name) < 1:
                raise _refusal(name, getattr(self, name), "1 or more")
        if not 0 < self.keep_ratio <= 1:
            raise _refusal("keep_ratio", self.keep_ratio, "above 0, at most 1")
        if min(self.split) < 0 or sum(self.split) <= 0:
            raise _refusal("split", self.split, "three shares, not all 0")
        if self.long_length < self.length:
            raise _refusal("long_length", self.long_length, f"at least --length, {self.length}")

    @property
    def alignment(self) -> Schedule:
        """Of stage 1."""
        return self._schedule(0, last_rate=1e-5, clip=LAYER_CLIP)

    @property
    def distillation(self) -> Schedule:
        """Of stage 3."""
        return self._schedule(1, last_rate=1e-5)

    @property
    def fine_tuning(self) -> Schedule:
        """Of stage 4: texts of `long_length`, a constant rate."""
        return self._schedule(2, last_rate=self.rates[2], length=self.long_length)

    def _schedule(
        self, stage: int, last_rate: float, length: int | None = None, clip: float = CLIP
    ) -> Schedule:
        tokens = int(self.tokens * self.split[stage] / sum(self.split))
        batch, parts = self.batch, self.parts
        if length is not None:
            texts = max(1, self.batch * self.parts * self.length // length)
            batch, parts, length = 1, texts, length
        rate = self.rates[stage]
        return Schedule.of_tokens(
            tokens,
            batch=batch,
            parts=parts,
            length=self.length if length is None else length,
            rate=rate,
            last_rate=min(rate, last_rate),
            clip=clip,
        )

    def keep(self) -> None:
        """Write what decides the weights to the work folder, or refuse to continue another one."""
        record = {name: value for name, value in asdict(self).items() if name not in _FREE}
        wanted = {name: _plain(value) for name, value in record.items()}
        path = self.work / OPTIONS
        if not path.is_file():
            write_json(path, wanted)
            return
        kept = read_json(path)
        for name, value in wanted.items():
            if kept.get(name) != value:
                raise RequestError(
                    f"the conversion in this folder was begun with {name} {kept.get(name)}",
                    where=f"--{name.replace('_', '-')} {value}",
                    expected="the options that it was begun with",
                    fix="repeat those, or name another --work folder",
                )


_FREE = ("work", "minutes", "save_seconds", "threads", "device", "recompute")
"""Options that may change between runs; other threads or devices round other sums otherwise."""


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path | StrEnum) else value


def _refusal(name: str, value: object, expected: str) -> RequestError:
    option = f"--{name.replace('_', '-')}"
    return RequestError(f"{name} is {value}", where=option, expected=expected)
