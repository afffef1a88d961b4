"""Stage 0: copied and expanded weights, measured sizes, and projections of least squares."""

from pathlib import Path

import numpy as np
import pytest
import torch

from examples.halo.decoder_parts import DecoderParts
from examples.halo.evaluation import layer_errors
from examples.halo.output_fit import PULL, fit_outputs
from examples.halo.student_config import (
    PUBLISHED_SPARSE,
    StudentFamily,
    sparse_config,
    student_config,
)
from examples.halo.teacher import Teacher, read_teacher
from examples.halo.torch_decoder import TorchDecoder
from examples.halo.transfer import Measured, inner_values, measure, transfer
from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.random_checkpoint import write_random_checkpoint
from tests.support.compiled import GOLDEN
from tests.support.gguf_files import dense_config, write_models

torch.set_num_threads(1)


def _texts(count: int = 3, tokens: int = 50) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, 90, (2, tokens), generator=generator) for _ in range(count)]


def _parts(tmp_path: Path, name: str = "llama-tied-a") -> tuple[Teacher, TorchDecoder, Measured]:
    teacher = read_teacher(GOLDEN / name, tmp_path)
    decoder = TorchDecoder(teacher.config, teacher.weights)
    return teacher, decoder, measure(decoder, _texts())


def _student(teacher: Teacher, measured: Measured, kept: tuple[int, ...] = ()) -> TorchDecoder:
    config = student_config(teacher.config, StudentFamily.HYPENET, kept, 1024)
    tensors = DecoderParts.of(config).tensors
    return TorchDecoder(config, transfer(tensors, teacher, measured, 0, kept))


def test_weights_are_copied_and_keys_and_values_expanded(tmp_path: Path):
    teacher, _, measured = _parts(tmp_path)
    student = _student(teacher, measured, (1,))
    heads, size = teacher.config["num_attention_heads"], teacher.head_dim
    group = heads // teacher.kv_heads
    assert group > 1, "nothing would be expanded"
    for name, own in teacher.weights.items():
        found = student.weights[name]
        if name.endswith("1.self_attn.o_proj.weight"):
            assert torch.equal(found, 2 * own), "its new gate is 1/2"
        elif "layers.1." not in name and ("k_proj" in name or "v_proj" in name):
            for head in range(heads):
                old = own[head // group * size :][:size]
                assert torch.equal(found[head * size :][:size], old)
        else:
            assert torch.equal(found, own), name
    new = set(student.weights) - set(teacher.weights)
    kinds = {name.split(".")[-2] for name in new}
    assert kinds == {"q_norm", "k_norm", "o_norm", "z_proj", "o_gate"}


def test_new_norms_have_the_measured_sizes(tmp_path: Path):
    """Found again from the teacher's own values, taken inside of its layers."""
    teacher, decoder, measured = _parts(tmp_path)
    student = _student(teacher, measured, (1,))
    rows: dict[str, list[torch.Tensor]] = {"output": [], "q": [], "k": []}
    for ids in _texts():
        values = decoder.begin(ids)
        stream = decoder.stream(values)
        for layer in (0, 1):
            normal = decoder.normal(values, layer, stream)
            found = decoder.inner(values, layer, normal, inner_values(decoder.parts, layer))
            if layer == 1:
                for name, value in zip(rows, found, strict=True):
                    rows[name].append(value)
            stream = decoder.layer(values, layer, stream)
    whole = {name: torch.cat(parts) for name, parts in rows.items()}
    norms = {name: student.weights[f"model.layers.1.self_attn.{name}_norm.weight"] for name in "qk"}
    for name, norm in norms.items():
        expected = whole[name].square().mean().sqrt()
        torch.testing.assert_close(norm, expected.expand_as(norm))
    all_linear = _student(teacher, measured)
    output = whole["output"].square().mean(0).sqrt()
    torch.testing.assert_close(
        all_linear.weights["model.layers.1.self_attn.o_norm.weight"], 2 * output
    )
    ones = all_linear.weights["model.layers.1.self_attn.q_norm.weight"]
    assert torch.equal(ones, torch.ones_like(ones))


def test_norms_that_the_teacher_has_are_copied(tmp_path: Path):
    teacher, _, measured = _parts(tmp_path, "qwen3-a")
    student = _student(teacher, measured, (1,))
    names = [name for name in teacher.weights if "q_norm" in name or "k_norm" in name]
    assert names
    assert all(torch.equal(student.weights[name], teacher.weights[name]) for name in names)


@pytest.mark.parametrize("family", list(StudentFamily))
def test_biases_are_expanded_like_their_weights(tmp_path: Path, family: StudentFamily):
    """Those that the teacher lacks are 0: of outputs and of gates."""
    source = write_random_checkpoint(tmp_path / "qwen2", dense_config("qwen2"), element="F32")
    teacher = read_teacher(source, tmp_path)
    decoder = TorchDecoder(teacher.config, teacher.weights)
    config = student_config(teacher.config, family, (1,), 1024)
    tensors = DecoderParts.of(config).tensors
    weights = transfer(tensors, teacher, measure(decoder, _texts()), 0, (1,))
    group = teacher.config["num_attention_heads"] // teacher.kv_heads
    for name in ("q_proj", "k_proj", "v_proj"):
        own = teacher.weights[f"model.layers.0.self_attn.{name}.bias"]
        assert own.abs().max() > 0
        heads = own.reshape(-1, teacher.head_dim)
        wide = heads if name == "q_proj" else heads.repeat_interleave(group, 0)
        assert torch.equal(weights[f"model.layers.0.self_attn.{name}.bias"], wide.flatten())
        kept = teacher.weights[f"model.layers.1.self_attn.{name}.bias"]
        assert torch.equal(weights[f"model.layers.1.self_attn.{name}.bias"], kept)
    for name in ("o_proj", "z_proj"):
        assert not weights[f"model.layers.0.self_attn.{name}.bias"].any()


def test_fitted_projections_are_those_of_least_squares(tmp_path: Path):
    """The solution of the equations with rows that draw towards the copied projection."""
    teacher, decoder, measured = _parts(tmp_path)
    student = _student(teacher, measured)
    fitted = fit_outputs(decoder, student, _texts())
    assert len(fitted) == teacher.layers
    inputs, targets = [], []
    for ids in _texts():
        values, own = decoder.begin(ids), student.begin(ids)
        normal = decoder.normal(values, 0, decoder.stream(values))
        targets.append(decoder.mixer(values, 0, normal).double())
        inputs.append(student.inner(own, 0, normal, inner_values(student.parts, 0)[:1])[0].double())
    x, y = torch.cat(inputs), torch.cat(targets)
    name = "model.layers.0.self_attn.o_proj.weight"
    pull = (PULL * x.square().sum(0).mean()).sqrt()
    more = pull * torch.eye(x.shape[1], dtype=torch.float64)
    rows = torch.cat([x, more]), torch.cat([y, more @ student.weights[name].T.double()])
    expected = torch.linalg.lstsq(*rows).solution.T
    torch.testing.assert_close(fitted[name].double(), expected, rtol=1e-4, atol=1e-5)
    before = layer_errors(decoder, student, _texts())
    better = TorchDecoder(student.config, {**student.weights, **fitted})
    after = layer_errors(decoder, better, _texts())
    assert all(b < a for a, b in zip(before, after, strict=True))
    assert max(after) < 1.05


def test_errors_of_layers_are_in_the_variance_of_the_teacher(tmp_path: Path):
    """A mixer that always gives the mean of each column has an error of 1."""
    _, decoder, _ = _parts(tmp_path)
    (ids,) = _texts(1)
    values = decoder.begin(ids)
    stream = decoder.stream(values)
    branches = []
    for layer in range(len(decoder.parts.layers)):
        normal = decoder.normal(values, layer, stream)
        branches.append(decoder.mixer(values, layer, normal))
        stream = decoder.rest(values, layer, stream, branches[-1])

    class Mean(TorchDecoder):
        def mixer(self, values: object, layer: int, normal: torch.Tensor) -> torch.Tensor:
            return branches[layer].mean(0).expand_as(normal)

    mean = Mean(decoder.config, decoder.weights)
    assert layer_errors(decoder, mean, [ids]) == pytest.approx([1.0] * len(branches), rel=1e-4)
    assert layer_errors(decoder, decoder, [ids]) == [0.0] * len(branches)


def test_sparse_sizes_grow_to_the_published_ones():
    assert sparse_config(16384) == sparse_config(1 << 20) == PUBLISHED_SPARSE
    small = sparse_config(2048)
    assert (small["dense_len"], small["window_size"], small["topk"]) == (1024, 256, 8)
    assert sparse_config(64)["topk"] == 2


def test_a_gguf_file_is_unpacked_once(tmp_path: Path):
    """Its values are those of the directory of the same model."""
    file, directory = write_models(tmp_path / "models", dense_config(), lambda name: "Q8_0")
    found = read_teacher(file, tmp_path / "work")
    expected = read_teacher(directory, tmp_path / "other")
    assert set(found.weights) == set(expected.weights)
    for name, tensor in expected.weights.items():
        np.testing.assert_array_equal(found.weights[name], tensor)
    stamp = (found.directory / "model.safetensors").stat().st_mtime_ns
    assert read_teacher(file, tmp_path / "work").directory == found.directory
    assert (found.directory / "model.safetensors").stat().st_mtime_ns == stamp
    assert not (tmp_path / "other").exists()


def test_a_teacher_without_a_tensor_is_refused(tmp_path: Path):
    directory = tmp_path / "broken"
    directory.mkdir()
    source = GOLDEN / "llama-tied-a"
    for name in ("config.json",):
        (directory / name).write_bytes((source / name).read_bytes())
    with pytest.raises(CheckpointError, match="has no weights"):
        read_teacher(directory, tmp_path)
