"""What the comparison of two commits finds, and what it leaves alone."""

import json

import numpy as np
import pytest

from benchmarks.old_and_new.bits import compared
from benchmarks.old_and_new.models import PORTABLE, ROOT, config_of, models
from benchmarks.old_and_new.speed import ratio
from benchmarks.old_and_new.trees import Side, SideError, commit_hash, old_tree

FLOAT32 = next(model for model in models() if model.is_float32)
BFLOAT16 = next(model for model in models() if not model.is_float32)


def _one(model, case: str, old: np.ndarray, new: np.ndarray):
    (found,) = compared(model, {case: old}, {case: new})
    return found


@pytest.mark.parametrize("model", [FLOAT32, BFLOAT16])
def test_one_bit_is_a_difference(model):
    old = np.ones(5, np.float32)
    assert _one(model, "decode", old, old.copy()).holds
    new = old.copy()
    new[3] = np.nextafter(new[3], 2)
    found = _one(model, "decode", old, new)
    assert not found.holds
    assert found.difference == pytest.approx(2**-23)
    assert not _one(model, "decode", np.zeros(5, np.float32), -np.zeros(5, np.float32)).holds
    assert not _one(model, "answer", np.array([3, 4]), np.array([3, 5])).holds


def test_other_cuts_agree_to_rounding_in_float32():
    old = np.ones(5, np.float32)
    assert _one(FLOAT32, "~ append", old, old + np.float32(9e-5)).holds
    assert not _one(FLOAT32, "~ append", old, old + np.float32(1.2e-4)).holds
    assert _one(BFLOAT16, "~ append", old, old + np.float32(0.1)).holds


def test_where_pages_are_smaller_a_kept_prefix_ends_elsewhere():
    old = np.ones(5, np.float32)
    tiny = next(model for model in models() if model.name == "tiny-a float32 native")
    for model, holds in ((FLOAT32, False), (tiny, True)):
        assert _one(model, "again 448, kept", old, old + np.float32(1e-5)).holds == holds


@pytest.mark.parametrize("model", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("case", ["decode", "~ append"])
def test_a_nan_or_another_shape_never_holds(model, case):
    old, new = np.ones(5, np.float32), np.ones(5, np.float32)
    new[2] = np.nan
    assert not _one(model, case, old, new).holds
    assert not _one(model, case, old, np.ones(4, np.float32)).holds


def test_models_have_names_of_their_own_and_every_kind_both_targets():
    names = [model.name for model in models()]
    assert len(set(names)) == len(names)
    portable = {model.options[:-2] for model in models() if model.options[-2:] == PORTABLE}
    native = {model.options for model in models() if PORTABLE[1] not in model.options}
    assert portable <= native
    for model in models():
        assert config_of(model.checkpoint)["sparse_config"]["dense_len"] >= 0


def test_whatever_else_runs_only_adds_time():
    quiet = [(1.0, 0.5)] * 3
    found = ratio("decode", [*quiet, (1.0, 9.0), (5.0, 0.5), (8.0, 1.0), (1.0, 7.0), (1.0, 3.0)])
    assert (found.old_seconds, found.fast, found.count) == (1.0, 2.0, 8)


def test_a_side_imports_the_packages_of_its_tree_and_no_others(tmp_path):
    """A tree without packages does not get those of this checkout, though they can be imported."""
    side = Side(tmp_path / "tree", tmp_path / "folder")
    with pytest.raises(SideError, match="SystemExit: "):
        side("write_checkpoint", folder=str(tmp_path / "checkpoint"), config={})
    side.close()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
def test_a_commit_is_taken_out_once_and_whole(tmp_path):
    commit = commit_hash("HEAD")
    tree = old_tree(commit, tmp_path)
    assert json.loads((tree / "examples" / "released-config.json").read_text())
    (tree / "mark").touch()
    assert (old_tree(commit, tmp_path) / "mark").exists()
