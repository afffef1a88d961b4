"""The Triton recurrence and its gradients in Triton's interpreter, against the reference."""

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from examples.halo.torch_decoder import TorchDecoder
from examples.halo.triton_lightning import recurrence
from examples.torch.sala_module import SalaModule
from sala_compile.sala_ir.frontends.kit.lightning import lightning_slopes
from sala_compile.sala_ir.reference import lightning_recurrence
from tests.support.compiled import GOLDEN

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from examples.halo.triton_lightning.kernel import recurrence_kernel
from tests.support.interpreted import run_code

torch.set_num_threads(1)
SHAPES = {
    "one token": (1, 1, 1, 16, 16),
    "a chunk": (1, 64, 2, 16, 16),
    "a chunk and a token": (2, 65, 3, 16, 32),
    "odd sizes": (2, 100, 2, 24, 40),
    "columns of three programs": (1, 30, 1, 16, 80),
    "a wide head": (1, 70, 1, 96, 16),
}


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Launches run in the interpreter, on the memory of CPU tensors, results poisoned."""

    def launch(grid, tensors, sizes, constants) -> None:
        arrays = {name: x.detach().numpy() for name, x in tensors.items()}
        for name in ("out", "last"):
            arrays[name][...] = np.nan
        typed = {name: ("*fp32", x.ctypes.data) for name, x in arrays.items()}
        typed |= {name: ("i32", value) for name, value in sizes.items()}
        run_code(recurrence_kernel, grid, typed, constants, arrays.values())

    monkeypatch.setattr(recurrence, "launch", launch)
    monkeypatch.setattr(recurrence, "PRECISION", "ieee")


def _inputs(texts: int, tokens: int, heads: int, d: int, e: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(texts, tokens, heads, d)] * 2 + [(texts, tokens, heads, e), (texts, heads, d, e)]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("name", SHAPES)
def test_values_and_gradients_are_those_of_the_reference(name: str):
    """Gradients of queries, keys, values and the first state, from both results."""
    inputs, slopes = _inputs(*SHAPES[name]), lightning_slopes(SHAPES[name][2])
    generator = torch.Generator().manual_seed(1)
    found: list[list[torch.Tensor]] = []
    for function, dtype in (
        (recurrence.lightning_triton, torch.float32),
        (lightning_recurrence, torch.float64),
    ):
        q, k, v, state = (x.detach().to(dtype).requires_grad_() for x in inputs)
        results = function(q, k, v, slopes=slopes, state=state)
        if not found:
            weights = [torch.randn(x.shape, generator=generator) for x in results]
        loss = sum((x * w).sum() for x, w in zip(results, weights, strict=True))
        found.append([*results, *torch.autograd.grad(loss, (q, k, v, state))])
    for ours, expected in zip(*found, strict=True):
        scale = float(expected.detach().abs().max())
        np.testing.assert_allclose(
            ours.detach().double().numpy(), expected.detach().numpy(), atol=2e-5 * scale
        )


def test_gradients_are_finite_differences():
    """Along a random direction of all inputs, in float32."""
    inputs, slopes = _inputs(1, 70, 2, 16, 16), lightning_slopes(2)

    def loss(tensors: list[torch.Tensor]) -> torch.Tensor:
        q, k, v, state = tensors
        out, last = recurrence.lightning_triton(q, k, v, slopes=slopes, state=state)
        return out.tanh().double().sum() + last.tanh().double().sum()

    gradients = torch.autograd.grad(loss(inputs), inputs)
    generator = torch.Generator().manual_seed(2)
    ways = [torch.randn(x.shape, generator=generator) for x in inputs]
    slope = sum(float((g * w).sum()) for g, w in zip(gradients, ways, strict=True))
    with torch.no_grad():
        above, below = (
            float(loss([x + sign * 1e-3 * w for x, w in zip(inputs, ways, strict=True)]))
            for sign in (1, -1)
        )
    assert (above - below) / 2e-3 == pytest.approx(slope, rel=5e-3, abs=1e-2)


@pytest.mark.parametrize(("size", "architecture"), [(64, 80), (128, 90), (128, 120)])
def test_it_compiles_for_gpus_and_fits_their_shared_memory(size: int, architecture: int):
    """99 KiB a program are what the smallest of them has."""
    names = ("q", "k", "v", "out", "first", "last", "slopes")
    fixed = recurrence.constants(size, size, True) | {"PRECISION": "tf32"}
    kinds = {**dict.fromkeys(names, "*fp32"), "tokens": "i32", "heads": "i32"}
    source = ASTSource(
        recurrence_kernel,
        signature={**kinds, **dict.fromkeys(fixed, "constexpr")},
        constexprs=fixed,
    )
    target, options = GPUTarget("cuda", architecture, 32), {"num_stages": recurrence.STAGES}
    found = triton.compile(source, target=target, options=options)
    assert f".target sm_{architecture}" in found.asm["ptx"]
    assert found.metadata.shared <= 99 << 10


def test_a_model_trains_through_it():
    """The gradients of a hybrid's weights are those through the reference's chunked form."""
    gradients = []
    for lightning in ({}, {"lightning": recurrence.lightning_triton}):
        module = SalaModule.from_checkpoint(GOLDEN / "hypenet-a")
        weights = dict(module.named_parameters())
        decoder = TorchDecoder(module.config, weights, **lightning)
        ids = torch.arange(66)[None] % 90
        decoder.final(ids).square().mean().backward()
        gradients.append({name: x.grad for name, x in weights.items() if x.grad is not None})
    for name, expected in gradients[0].items():
        scale = float(expected.abs().max())
        torch.testing.assert_close(gradients[1][name], expected, rtol=0, atol=1e-4 * scale)
