"""What a token reads of the weights, and what is said where memory does not hold them."""

from pathlib import Path

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.devices.cpu import device as cpu_device
from sala_compile.runtime.plan.weight_reads import WeightReads, disk_note, weight_reads
from tests.support.compiled import GOLDEN, compile_checkpoint

READS = WeightReads(always=100, experts=1000, chosen=40)


@pytest.mark.parametrize(
    ("held", "expected"),
    [(1100, 0), (5000, 0), (600, 20), (100, 40), (99, 140), (0, 140), (-5, 140)],
)
def test_bytes_from_disk(held: int, expected: int) -> None:
    assert READS.from_disk(held) == expected


def test_without_experts_all_is_read_again() -> None:
    dense = WeightReads(always=100, experts=0, chosen=0)
    assert (dense.from_disk(100), dense.from_disk(99)) == (0, 100)


def test_the_note_names_bytes_and_seconds() -> None:
    reads = WeightReads(always=1 << 30, experts=36 << 30, chosen=3 << 30)
    note = disk_note(reads, 38 << 30, 19 << 30, 2e9)
    assert "38.00 GiB" in note
    assert "19.00 GiB" in note
    assert "4.00 GiB that a token reads about 1.50 GiB will come from disk, 0.81 s" in note
    assert "2 GB/s" in note


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of a model with experts."""
    path = tmp_path_factory.mktemp("routed") / "routed.sala"
    compile_checkpoint(GOLDEN / "nemotron_h-a", path)
    return path


def test_experts_count_by_what_a_token_chooses(routed: Path) -> None:
    artifact = open_artifact(routed)
    reads = weight_reads(artifact, "cpu")
    (spec,) = {
        (int(k.spec["experts"]), int(k.spec["chosen"]))
        for k in artifact.manifest.kernels
        if k.family == "experts"
    }
    assert reads.chosen == reads.experts * spec[1] // spec[0]
    assert 0 < reads.chosen < reads.experts
    assert reads.always + reads.experts < artifact.weight_bytes_of("cpu")  # embeddings, padding


def test_a_model_larger_than_memory_says_so_and_gives_the_same_bits(
    routed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = np.arange(3, 40) % 90
    with sala_compile.load(routed) as model:
        assert model.notes == ()
        expected = model.logits(ids)
        needed = model.plan.total_bytes - open_artifact(routed).weight_bytes_of("cpu")
    monkeypatch.setattr(cpu_device, "available_memory", lambda: needed + 1000)
    with sala_compile.load(routed) as model:
        (note,) = model.notes
        assert note.startswith("the weights (")
        assert "1000 B of memory that is left for them" in note
        np.testing.assert_array_equal(model.logits(ids), expected)


def test_what_states_need_is_still_refused(routed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_device, "available_memory", lambda: 1 << 16)
    with pytest.raises(sala_compile.MemoryBudgetError):
        sala_compile.load(routed)
