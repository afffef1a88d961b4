"""Which of several targets is loaded."""

from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.artifact import ArtifactWriter, Manifest, open_artifact, write_artifact
from sala_compile.runtime.devices.choose_target import choose_target, runnable_targets
from sala_compile.runtime.errors import ArtifactError
from sala_compile.runtime.verify import verify_artifact
from tests.support.handmade import expected_logits, fill, tiny_program


def _with_targets(directory: Path, needed: dict[str, tuple[str, ...]]) -> Path:
    """An artifact with the same library for several targets that need different instructions."""
    program = tiny_program()
    targets = {name: program.targets["cpu"] for name in needed}

    def write(writer: ArtifactWriter) -> Manifest:
        made = fill(writer, program=program.model_copy(update={"targets": targets}))
        info = made.targets["cpu"]
        infos = {
            name: info.model_copy(update={"instructions": instructions})
            for name, instructions in needed.items()
        }
        return made.model_copy(update={"targets": infos})

    write_artifact(directory, write)
    return directory


def test_the_one_that_uses_most_of_the_processor_is_chosen(tmp_path: Path):
    directory = _with_targets(
        tmp_path / "a.sala",
        {"cpu": ("sse2", "avx9000"), "cpu:new": ("sse2", "cx16"), "cpu:old": ("sse2",)},
    )
    artifact = open_artifact(directory)
    assert runnable_targets(artifact) == ["cpu:new", "cpu:old"]
    assert choose_target(artifact) == "cpu:new"
    assert choose_target(artifact, "cpu:old") == "cpu:old"
    with pytest.raises(ArtifactError, match="avx9000"):
        choose_target(artifact, "cpu")
    with pytest.raises(ArtifactError, match="nothing for the target 'cuda'") as caught:
        choose_target(artifact, "cuda")
    assert "cpu:old" in str(caught.value)
    for name in (None, "cpu:old"):
        with sala_compile.load(directory, target=name) as model:
            assert model.info()["target"] == (name or "cpu:new")
            np.testing.assert_array_equal(model.logits([4, 5]), expected_logits([4, 5]))


def test_vectors_that_cannot_run_here_are_skipped_by_name(tmp_path: Path):
    directory = _with_targets(tmp_path / "a.sala", {"cpu": ("avx9000",), "cpu:old": ("sse2",)})
    report = verify_artifact(directory)
    assert report.passed
    assert report.skipped == ("cpu",)
    assert [result.name for result in report.results] == ["short"]


def test_no_target_at_all_for_processors_is_refused(tmp_path: Path):
    directory = _with_targets(tmp_path / "a.sala", {"cuda:sm_90": ()})
    with pytest.raises(ArtifactError, match="nothing for the target 'cpu'"):
        sala_compile.load(directory, device="cpu")
