"""Compares what the models of two trees compute, to the bit where the rule of bits asks for it."""

import hashlib
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.old_and_new.models import STORED, Compiled, config_of
from benchmarks.old_and_new.trees import SIDE, Side
from sala_compile.runtime.artifact.processor import processor_name

ROUNDING = 1e-4
"""Largest difference of logits where other cuts are right, in float32."""


@dataclass(frozen=True, slots=True)
class Found:
    """A case: how far the two are apart, and whether that is right."""

    model: str
    case: str
    difference: float
    holds: bool
    exact: bool = True
    """Whether only equal bits are right."""
    note: str = ""

    @property
    def words(self) -> str:
        """For a table."""
        if self.note:
            return self.note
        return "equal" if self.difference == 0 else f"{self.difference:.2e}"


@dataclass(frozen=True, slots=True)
class Trees:
    """The old side with what is kept of it, and the new side, which begins anew each time."""

    old: Side
    new: Side
    kept: Path
    fresh: Path

    def compare(self, model: Compiled) -> list[Found]:
        """Compile with both, compute with both, compare all cases."""
        checkpoint = self._checkpoint(model.checkpoint)
        wanted = self._old_results(model, checkpoint)
        found = self._results(self.new, model, checkpoint, self.fresh)
        return compared(model, _read(wanted), _read(found))

    def _checkpoint(self, name: str) -> Path:
        """The checkpoint, written by the old side where it is random."""
        if name in STORED:
            return STORED[name]
        folder = self.kept / "checkpoints" / f"{name}-{_digest(str(config_of(name)))}"
        if not folder.exists():
            partial = self.fresh / name
            self.old("write_checkpoint", folder=str(partial), config=config_of(name))
            folder.parent.mkdir(parents=True, exist_ok=True)
            partial.replace(folder)
        return folder

    def _old_results(self, model: Compiled, checkpoint: Path) -> Path:
        """What the old side computed, once for this machine, this model and these cases."""
        _, cases, _ = re.split(r"^class (?:Cases|Timed):", SIDE.read_text(), flags=re.MULTILINE)
        key = _digest(str((model, checkpoint.name, processor_name(), cases)))
        file = self.kept / "results" / f"{model.name.replace(' ', '-')}-{key}.npz"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._results(self.old, model, checkpoint, self.fresh).replace(file)
        return file

    def _results(self, side: Side, model: Compiled, checkpoint: Path, folder: Path) -> Path:
        artifact, output = folder / "model.sala", folder / "model.npz"
        source = [str(checkpoint)]
        if model.seeded:
            source = ["--config", str(checkpoint / "config.json"), "--weights", "random"]
        shutil.rmtree(artifact, ignore_errors=True)
        side("compile_artifact", arguments=[*source, "-o", str(artifact), *model.arguments])
        side(
            "compute",
            artifact=str(artifact),
            dense_below=config_of(model.checkpoint)["sparse_config"]["dense_len"],
            kinds=["hidden"] if model.is_dense else ["hidden", "selected_blocks"],
            output=str(output),
        )
        return output


def compared(
    model: Compiled, old: Mapping[str, np.ndarray], new: Mapping[str, np.ndarray]
) -> list[Found]:
    """Every case that both computed."""
    assert old.keys() == new.keys(), "both run the same file"
    return [_found(model, case, old[case], new[case]) for case in old]


def _found(model: Compiled, case: str, old: np.ndarray, new: np.ndarray) -> Found:
    if old.shape != new.shape:
        note = f"shapes {old.shape} and {new.shape}"
        return Found(model.name, case, float("inf"), holds=False, note=note)
    difference, exact = _difference(old, new), not is_loose(model, case)
    holds = difference == 0
    if not exact:
        holds = difference <= ROUNDING if model.is_float32 else np.isfinite(difference)
    return Found(model.name, case, difference, bool(holds), exact)


def is_loose(model: Compiled, case: str) -> bool:
    """Whether the rule of bits asks for other cuts than older commits made.

    They also kept a prefix at the last page of a prompt, which now ends at a multiple of 64.
    """
    pages_are_cuts = config_of(model.checkpoint)["sparse_config"]["block_size"] % 64 == 0
    return case.startswith("~") or ("kept" in case and not pages_are_cuts)


def _difference(old: np.ndarray, new: np.ndarray) -> float:
    """0 where all bits are equal, else the largest difference; infinite for a NaN."""
    if old.tobytes() == new.tobytes():
        return 0.0
    largest = float(np.abs(old.astype(np.float64) - new.astype(np.float64)).max())
    if np.isnan(largest):
        return float("inf")
    return max(largest, float(np.finfo(np.float64).tiny))


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except zipfile.BadZipFile:
        raise SystemExit(f"{file} is damaged: delete it and start again") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
