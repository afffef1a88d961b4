"""The reference with torch tensors: the same values, and gradients of everything."""

import array_api_compat.torch as namespace
import numpy as np
import pytest
import torch

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import Heads
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import LightningForm, Rounding
from tests.support.checkpoints import VARIATIONS, reference_model, write_checkpoint

torch.set_num_threads(1)


def _text(count):
    return np.random.default_rng(0).integers(0, 131, count).tolist()


def _parameters(directory):
    checkpoint = Checkpoint.open(directory)
    return {
        name: torch.tensor(checkpoint.read(name).astype(np.float64), requires_grad=True)
        for name in checkpoint.tensors
    }


@pytest.mark.parametrize("name", VARIATIONS)
def test_values_equal_numpy(tmp_path, name):
    directory = write_checkpoint(tmp_path, VARIATIONS[name])
    expected = reference_model(directory).prefill(_text(90))
    with torch.no_grad():
        found = reference_model(directory, namespace=namespace).prefill(_text(90))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("length", [50, 90])
@pytest.mark.parametrize("form", list(LightningForm))
def test_gradients_are_finite_differences(tmp_path, length, form):
    """Of the loss along a random direction of all weights, in both regimes."""
    directory = write_checkpoint(tmp_path)
    tensors = _parameters(directory)
    module = reference_model(directory).module
    text = _text(length)

    def loss(weights):
        model = ReferenceModel(module, weights, namespace=namespace, lightning=form)
        logits = model.prefill(text)
        return torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(text[1:]))

    value = loss(tensors)
    value.backward()
    generator = torch.Generator().manual_seed(0)
    step = {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * 1e-7
        for name, tensor in tensors.items()
    }
    slope = 0.0
    for name, tensor in tensors.items():
        assert tensor.grad is not None, name
        assert torch.isfinite(tensor.grad).all(), name
        assert tensor.grad.abs().max() > 0, name
        slope += float((tensor.grad * step[name]).sum())
    with torch.no_grad():
        ahead = loss({name: tensor + step[name] for name, tensor in tensors.items()})
        behind = loss({name: tensor - step[name] for name, tensor in tensors.items()})
    np.testing.assert_allclose(float(ahead - behind) / 2, slope, rtol=1e-4)


def test_inputs_are_not_changed(tmp_path):
    tensors = _parameters(write_checkpoint(tmp_path))
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    ReferenceModel(reference_model(tmp_path).module, tensors, namespace=namespace).prefill(
        _text(70)
    )
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor.detach(), before[name], rtol=0, atol=0)


def test_rounding_passes_gradients_through(tmp_path):
    directory = write_checkpoint(tmp_path)
    options = {"rounding": Rounding.ROUNDED, "dtype": namespace.float32, "namespace": namespace}
    tensors = _parameters(directory)
    ReferenceModel(reference_model(directory).module, tensors, **options).prefill(
        _text(70)
    ).sum().backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in tensors.values())
    x = torch.tensor([1.00390625, -3.3], requires_grad=True)
    rounded = reference.to_bfloat16(x)
    rounded.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones(2))
    np.testing.assert_array_equal(
        rounded.detach().numpy(), reference.to_bfloat16(x.detach().numpy())
    )


def test_gradients_at_a_gate_of_zero():
    x = torch.ones(2, dtype=torch.float64)
    gate = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    reference.output_gate(x, gate).sum().backward()
    torch.testing.assert_close(gate.grad, torch.full((2,), 0.25, dtype=torch.float64))


def test_gradients_through_a_long_chunk_of_a_fast_head():
    q = torch.randn(1, 200, 16, dtype=torch.float32).reshape(200, 16).requires_grad_()
    batch = reference.make_batch([0, 200], [0], [200], [0])
    out, _ = reference.lightning_attention(
        q, q, q, {}, batch, heads=Heads(2, 2, 8, 1.0), eps=1e-6,
        slopes=lightning_slopes(2) * 100,
    )  # fmt: skip
    out.sum().backward()
    assert torch.isfinite(q.grad).all()
