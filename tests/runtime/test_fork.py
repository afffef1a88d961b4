"""Forked sequences continue to the bit, and leave each other alone."""

import numpy as np
import pytest

import sala_compile
from sala_compile.runtime.errors import MemoryBudgetError
from sala_compile.runtime.model import Model
from tests.support.sequences import assert_unused, text, used

LENGTHS = (1, 2, 15, 16, 17, 33, 63, 64, 65, 127, 250, 1023, 1024, 1025, 1060)
"""Around pages (16 tokens), the first sparse call (64) and compressed pages (1024)."""


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def model(request: pytest.FixtureRequest, compiled):
    path = compiled(request.param)
    with sala_compile.load(path, context=1152, batch=3, snapshots=2, poison=True) as loaded:
        yield loaded


@pytest.mark.parametrize("length", LENGTHS)
def test_a_fork_continues_to_the_bit(model: Model, length: int):
    ids, more = text(model, length), text(model, 60, seed=1)
    with model.sequence() as one:
        logits = one.append(ids)
        with one.fork() as two:
            assert len(two) == length
            assert two.token_ids == ids.tolist()
            np.testing.assert_array_equal(two.last_logits, logits)
            for piece in np.split(more, [1, 2, 3, 20]):
                np.testing.assert_array_equal(two.append(piece), one.append(piece))
    assert_unused(model)


@pytest.mark.parametrize("length", [31, 64, 100])
def test_what_a_fork_becomes_leaves_the_other_alone(model: Model, length: int):
    ids, mine, others = text(model, length), text(model, 40, 1), text(model, 40, 2)
    with model.sequence() as alone:
        alone.append(ids)
        wanted = [alone.append(piece) for piece in np.split(mine, 4)]
    with model.sequence() as one:
        one.append(ids)
        with one.fork() as two, one.fork() as three:
            found = []
            for own, other in zip(np.split(mine, 4), np.split(others, 4), strict=True):
                two.append(other)
                found.append(one.append(own))
                three.append(other[::-1])
            np.testing.assert_array_equal(found, wanted)
            with pytest.raises(AssertionError):
                np.testing.assert_array_equal(two.last_logits, wanted[-1])
    assert_unused(model)


def test_forks_share_full_pages_and_outlive_their_origin(model: Model):
    ids = text(model, 70)
    one = model.sequence()
    one.append(ids)
    assert used(model)["kv"] == 5
    two = one.fork()
    assert used(model)["kv"] == 6
    wanted = one.append([5])
    one.close()
    assert used(model)["kv"] == 5
    np.testing.assert_array_equal(two.append([5]), wanted)
    two.close()
    assert_unused(model)


def test_forks_decode_in_one_batch(model: Model):
    with model.sequence() as one:
        one.append(text(model, 90))
        with one.fork() as two, model.sequence() as other:
            other.append(text(model, 20, seed=3))
            rows = model.decode([one, other, two], [4, 4, 4])
            assert rows.shape == (3, model.vocabulary)
            assert rows.dtype == np.float32
            np.testing.assert_array_equal(rows[0], rows[2])
            np.testing.assert_array_equal(rows[1], other.last_logits)


def test_a_fork_keeps_the_snapshots(model: Model):
    ids = text(model, 80)
    with model.sequence() as one:
        one.append(ids[:37])
        one.snapshot()
        wanted = one.append(ids[37:])
        with one.fork() as two:
            one.close()
            two.append([1, 2, 3])
            assert two.snapshots() == [0, 37]
            two.truncate(37)
            np.testing.assert_array_equal(two.append(ids[37:]), wanted)
    assert_unused(model)


def test_a_fork_without_room_changes_nothing(compiled):
    with sala_compile.load(compiled("float32"), context=64, batch=1, sequences=2) as model:
        one = model.sequence()
        one.append(text(model, 40))
        one.append(text(model, 20))
        with pytest.raises(MemoryBudgetError, match="KV pages are needed"):
            one.fork()
        assert used(model) == {"sequences": 1, "snapshots": 0, "kv": 4, "compressed": 1}
        with model.sequence(), pytest.raises(MemoryBudgetError, match="sequences are needed"):
            one.fork()
