"""Where heads begin, how gradients are clipped, and texts that are read several times."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.halo.decoder_parts import DecoderParts
from examples.halo.head_order import head_orders, in_order
from examples.halo.stages.alignment import Run, aligned_gradients, layer_workers
from examples.halo.student_config import StudentFamily, student_config
from examples.halo.teacher import read_teacher
from examples.halo.teacher_branches import WINDOW_TOKENS, TeacherBranches, window_of
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.training.adam import Adam
from examples.halo.training.stage_training import trainable
from examples.halo.transfer import measure, transfer
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from sala_compile.sala_ir.dialect import LightningAttentionOp
from sala_compile.sala_ir.reference.lightning import lightning_chunked
from tests.support.compiled import GOLDEN
from tests.support.gguf_files import dense_config

torch.set_num_threads(1)


def _texts(count: int = 3, tokens: int = 50) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 90, (2, tokens), generator=generator) for _ in range(count)]


def _decoders(directory: Path, work: Path) -> tuple[TorchDecoder, TorchDecoder]:
    """A teacher and its all-linear student, as stage 0 begins."""
    source = read_teacher(directory, work)
    teacher = TorchDecoder(source.config, source.weights)
    config = student_config(source.config, StudentFamily.HYPENET, (), 1024)
    tensors = DecoderParts.of(config).tensors
    weights = transfer(tensors, source, measure(teacher, _texts()), 0)
    return teacher, TorchDecoder(config, weights)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_heads_are_put_where_they_are_nearest(tmp_path: Path, family: str):
    """A teacher whose mixers are those of the student, its heads in another order, is found."""
    source = write_random_checkpoint(tmp_path / family, dense_config(family), element="F32")
    teacher, student = _decoders(source, tmp_path)
    heads = student.config["num_attention_heads"]
    generator = np.random.default_rng(1)
    orders = [tuple(map(int, generator.permutation(heads))) for _ in teacher.parts.layers]
    moved = TorchDecoder(student.config, in_order(student.weights, orders))

    class Linear(TorchDecoder):
        """The teacher, but what its output projection reads is the moved student's."""

        def inner(self, values, layer, normal, wanted):
            own = moved.begin(ids)
            mixer = moved.parts.layers[layer].mixer
            (recurrence,) = (op for op in mixer if isinstance(op, LightningAttentionOp))
            (found,) = moved.inner(own, layer, normal, [recurrence.out])
            by_place = found.unflatten(1, (heads, -1))
            by_head = torch.empty_like(by_place)
            by_head[:, list(orders[layer])] = by_place
            branch = super().inner(values, layer, normal, wanted[1:])
            return [by_head.flatten(1), *branch]

    (ids,) = _texts(1, 80)
    found = head_orders(Linear(teacher.config, teacher.weights), student, [ids])
    assert found == orders


@pytest.mark.parametrize("name", ["llama-tied-a", "qwen3-a"])
def test_an_order_changes_no_more_than_decays(tmp_path: Path, name: str):
    """With equal decays at all places the student computes the same, in any order of heads."""
    _, student = _decoders(GOLDEN / name, tmp_path)
    heads = student.config["num_attention_heads"]
    (ids,) = _texts(1)

    def logits(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        def equal(q, k, v, *, slopes, **others):
            return lightning_chunked(q, k, v, slopes=np.full(len(slopes), 0.1), **others)

        decoder = TorchDecoder(student.config, weights, lightning=equal, dtype=torch.float64)
        return decoder.final(ids)

    weights = {name: x for name, x in student.weights.items() if "z_proj" not in name}
    gates = {name: torch.zeros_like(x) for name, x in student.weights.items() if "z_proj" in name}
    order = [(*tuple(range(1, heads)), 0)] * len(student.parts.layers)
    plain, moved = ({**weights, **gates}, {**in_order(weights, order), **gates})
    changed = {name for name, x in moved.items() if not torch.equal(x, plain[name])}
    assert {name.split(".")[-2] for name in changed} >= {"q_proj", "k_proj", "v_proj", "o_proj"}
    torch.testing.assert_close(logits(moved), logits(plain), rtol=1e-9, atol=1e-9)


def test_texts_are_read_as_often_as_asked(tmp_path: Path):
    """Each window in another order every time; a run that begins anywhere reads the same."""
    teacher, _ = _decoders(GOLDEN / "llama-tied-a", tmp_path)
    read: list[int] = []

    def batch(number: int) -> torch.Tensor:
        read.append(number)
        return torch.full((1, 8), number)

    def branches() -> TeacherBranches:
        return TeacherBranches(teacher, batch, torch.float32, passes=3, seed=0, window=5)

    whole = branches()
    turns = [whole.turn(number) for number in range(30)]
    numbers = [int(ids[0, 0]) for ids, _ in turns]
    for begin in (0, 15):
        orders = [tuple(numbers[begin + 5 * again :][:5]) for again in range(3)]
        expected = list(range(begin // 3, begin // 3 + 5))
        assert [sorted(order) for order in orders] == [expected] * 3
        assert len(set(orders)) > 1
    assert sorted(read) == list(range(10)), "the teacher reads each batch once"
    for number in (7, 14, 29):
        ids, again = branches().turn(number)
        assert torch.equal(ids, turns[number][0])
        for ours, theirs in zip(again, turns[number][1], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_texts_that_are_read_once_come_in_their_order(tmp_path: Path):
    teacher, _ = _decoders(GOLDEN / "llama-tied-a", tmp_path)
    assert window_of(1, 512) == 1
    assert window_of(2, 512) * 512 == WINDOW_TOKENS
    assert window_of(2, 10 * WINDOW_TOKENS) == 1
    once = TeacherBranches(
        teacher, lambda number: torch.full((1, 4), number), torch.float32, 1, 0, window_of(1, 4)
    )
    assert [int(once.turn(number)[0][0, 0]) for number in range(4)] == [0, 1, 2, 3]


def test_groups_are_clipped_by_themselves():
    """A large gradient of one layer does not make the steps of another smaller."""
    weights = {name: torch.ones(3, requires_grad=True) for name in ("a.0", "a.1", "b.0")}
    gradients = {"a.0": 30.0, "a.1": 40.0, "b.0": 0.1}
    adam = Adam(weights, 0, group=lambda name: name.split(".")[0])
    for name, value in gradients.items():
        weights[name].grad = torch.full((3,), value)
    norm = adam.step(0.0, 1.0)
    assert norm == pytest.approx((3 * (30**2 + 40**2 + 0.1**2)) ** 0.5)
    kept = {name: float(first[0]) / 0.1 for name, (first, _) in adam.moments.items()}
    assert kept["b.0"] == pytest.approx(0.1, rel=1e-4)
    assert kept["a.0"] == pytest.approx(30 / (3**0.5 * 50), rel=1e-4)
    assert kept["a.1"] == pytest.approx(40 / (3**0.5 * 50), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers_side_by_side_give_the_same_gradients(tmp_path: Path, dtype: torch.dtype):
    """To the bit, in every thread with the products of the caller."""
    teacher, student = _decoders(GOLDEN / "llama-tied-a", tmp_path)
    (ids,) = _texts(1)
    once = TeacherBranches(teacher, lambda number: ids, torch.float32, 1, 0, 1)
    variances = (1.0,) * len(teacher.parts.layers)

    def products() -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16)

    def gradients(run: Run) -> tuple[list[float], dict[str, torch.Tensor]]:
        mixers = {name: x for name, x in student.weights.items() if ".self_attn." in name}
        with trainable(mixers):
            wanted = once.turn(0)[1]
            errors = aligned_gradients(student, ids, wanted, variances, 1, products, run)
            return errors, {name: x.grad.clone() for name, x in mixers.items()}

    torch.set_num_threads(2)
    try:
        with layer_workers("cpu") as run:
            found = gradients(run)
    finally:
        torch.set_num_threads(1)
    expected = gradients(map)
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(x, expected[1][name]) for name, x in found[1].items())
