"""The decoder in parts computes what the whole graph computes, and so do its gradients."""

import warnings

import pytest
import torch

from examples.halo.decoder_parts import DecoderParts
from examples.halo.student_config import StudentFamily, student_config
from examples.halo.torch_decoder import TorchDecoder
from examples.torch.sala_module import SalaModule
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.reference import lightning_recurrence
from tests.support.compiled import GOLDEN

torch.set_num_threads(1)
NAMES = ("llama-tied-a", "llama-llama3-a", "qwen3-a", "minicpm-a", "hypenet-a", "sala-tiny-a")


def _pair(name: str, **options: object) -> tuple[SalaModule, TorchDecoder]:
    module = SalaModule.from_checkpoint(GOLDEN / name, dtype=torch.float64)
    weights = dict(module.named_parameters())
    return module, TorchDecoder(module.config, weights, dtype=torch.float64, **options)


def _ids(texts: int, tokens: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 90, (texts, tokens), generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_parts_make_the_whole(name: str):
    module, decoder = _pair(name, attention=AttentionMode.CONFIG)
    ids = _ids(2, 70)
    with torch.no_grad():
        found = decoder.logits(decoder.final(ids)).reshape(2, 70, -1)
        torch.testing.assert_close(found, module(ids))


@pytest.mark.parametrize("name", ["hypenet-a", "sala-tiny-a"])
def test_recomputed_gradients_are_the_same(name: str):
    _, decoder = _pair(name)
    ids = _ids(1, 66)
    gradients = []
    for recompute in (False, True):
        decoder.final(ids, recompute=recompute).square().mean().backward()
        gradients.append({name: x.grad for name, x in decoder.weights.items()})
        for weight in decoder.weights.values():
            weight.grad = None
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[1][name], gradient)
    assert sum(gradient is not None for gradient in gradients[0].values()) >= 30


def test_a_mixer_of_another_model_takes_its_place():
    _, decoder = _pair("llama-tied-a")
    ids = _ids(1, 20)
    values = decoder.begin(ids)
    with torch.no_grad():
        own = decoder.final(ids)
        same = decoder.final(ids, mixers={1: lambda x: decoder.mixer(values, 1, x)})
        other = decoder.final(ids, mixers={1: lambda x: torch.zeros_like(x)})
    torch.testing.assert_close(own, same)
    assert not torch.allclose(own, other)


def test_a_function_may_compute_the_recurrence():
    """It is called with heads apart, once for each group of texts of one length."""
    calls = []

    def recurrence(q: torch.Tensor, *rest: torch.Tensor, **named: object) -> object:
        calls.append(tuple(q.shape))
        return lightning_recurrence(q, *rest, **named)

    _, chunked = _pair("hypenet-a")
    _, own = _pair("hypenet-a", lightning=recurrence)
    ids = _ids(2, 70)
    with torch.no_grad():
        torch.testing.assert_close(own.final(ids), chunked.final(ids))
    mixers = chunked.config["mixer_types"]
    assert len(calls) == sum(mixer != "attn" for mixer in mixers)
    assert set(calls) == {(2, 70, own.config["lightning_nh"], own.config["lightning_head_dim"])}


def test_fine_tuning_selects_blocks_and_the_stages_before_do_not():
    """A student of long texts: gradients reach every weight in both, and the values differ."""
    sizes = {"kernel_size": 8, "kernel_stride": 4, "block_size": 8, "window_size": 8, "topk": 2}
    teacher = SalaModule.from_checkpoint(GOLDEN / "llama-tied-a").config
    filled = {**teacher, "num_key_value_heads": 2, "rope_theta": 1e4}
    filled.setdefault("head_dim", teacher["hidden_size"] // teacher["num_attention_heads"])
    config = student_config(filled, StudentFamily.MINICPM_SALA, (0, 2), 64)
    config["sparse_config"] |= sizes
    torch.manual_seed(0)
    module = SalaModule(config, dtype=torch.float64)
    weights = dict(module.named_parameters())
    finals = []
    for attention in (AttentionMode.DENSE, AttentionMode.CONFIG):
        decoder = TorchDecoder(config, weights, attention=attention, dtype=torch.float64)
        ops = {op.name for layer in decoder.parts.layers for op in layer.mixer}
        assert ("sala.block_sparse_attention" in ops) == (attention is AttentionMode.CONFIG)
        finals.append(decoder.final(_ids(1, 64), recompute=True))
        decoder.logits(finals[-1]).square().mean().backward()
        for name, weight in weights.items():
            assert weight.grad is not None, name
            assert weight.grad.abs().max() > 0, name
            weight.grad = None
    torch.testing.assert_close(finals[0][:16], finals[1][:16])
    assert not torch.allclose(finals[0][40:], finals[1][40:])


def test_training_warns_of_nothing():
    """Weights that are where they belong are taken as they are."""
    _, decoder = _pair("hypenet-a")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decoder.final(_ids(1, 20)).square().mean().backward()


def test_every_operation_is_in_one_part():
    parts = DecoderParts.of(SalaModule.from_checkpoint(GOLDEN / "qwen3-a").config)
    found = [*parts.prelude, *parts.tail, parts.logits]
    for layer in parts.layers:
        found += [*layer.before, *layer.mixer, *layer.after]
    block = parts.logits.parent
    assert block is not None
    assert len(found) == len(set(found)) == len(list(block.ops)) - 1
