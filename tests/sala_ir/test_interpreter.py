"""Modules on the interpreter: batches, chunks, weight expressions, rounding, phases, sources."""

import ml_dtypes
import numpy as np
import pytest
from xdsl.dialects.builtin import f32

from sala_compile.passes.specialise_phases import SpecialisePhases
from sala_compile.runtime.errors import RequestError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.context import make_context, parse_module
from sala_compile.sala_ir.dialect import (
    ConcatWeightsOp,
    InterleaveWeightsOp,
    WeightOp,
    WeightType,
)
from sala_compile.sala_ir.frontends import AttentionMode
from sala_compile.sala_ir.interpreter import (
    NewTokens,
    Numerics,
    ReferenceModel,
    row_source,
    weight_rows,
)
from sala_compile.sala_ir.interpreter.weight_reference import ReferenceArithmetic
from sala_compile.sala_ir.interpreter.weight_rows import evaluated
from sala_compile.sala_ir.reference import LightningForm, Rounding, interleave_weights
from tests.support.checkpoints import VARIATIONS, reference_model, tiny_config, write_checkpoint


def _tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 131, count).tolist()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def model(directory):
    return reference_model(directory)


@pytest.mark.parametrize("name", VARIATIONS)
def test_every_configuration_in_chunks_and_token_by_token(tmp_path, name):
    """One call in chunks equals one piece; calls of one token decide their regime each."""
    model = reference_model(write_checkpoint(tmp_path, VARIATIONS[name]))
    text = _tokens(120)
    whole = model.prefill(text)
    assert np.isfinite(whole).all()
    assert 0.5 < whole.std() < 8
    np.testing.assert_allclose(model.prefill(text, chunk=23), whole, atol=1e-8)
    model.prefill(text[:115])
    decoded = np.stack([model.decode(token) for token in text[115:]])
    recurrent = reference_model(tmp_path, lightning=LightningForm.RECURRENT)
    recurrent.prefill(text[:115])
    expected = np.stack([recurrent.decode(token) for token in text[115:]])
    np.testing.assert_allclose(decoded, expected, atol=1e-8)


def test_sequences_of_a_batch_equal_each_alone(model):
    prompts = [_tokens(count, seed=count) for count in (70, 1, 33, 64)]
    alone = [model.prefill(prompt) for prompt in prompts]
    batch = [NewTokens(slot, prompt) for slot, prompt in zip((3, 0, 9, 4), prompts, strict=True)]
    model.close(0)
    for logits, expected in zip(model.step(batch), alone, strict=True):
        np.testing.assert_allclose(logits, expected, atol=1e-10)
    assert model.lengths == {3: 70, 0: 1, 9: 33, 4: 64}
    more = [NewTokens(4, [7]), NewTokens(3, [8, 9]), NewTokens(12, [5])]
    together = model.step(more)
    for prompt, part, logits in zip((prompts[3], prompts[0], []), more, together, strict=True):
        if prompt:
            model.prefill(prompt, slot=100)
        else:
            model.close(100)
        expected = model.extend(part.tokens, slot=100)
        np.testing.assert_allclose(logits, expected, atol=1e-10)


@pytest.mark.parametrize("length", [40, 150])
def test_equally_long_sequences_compute_as_one(model, length):
    """In both regimes, from the start and from a history, and whatever is observed of them."""
    texts = [_tokens(length + 3, seed) for seed in range(3)]
    alone = [model.prefill(text[:length], slot=9, observe=("hidden",)) for text in texts]
    new = [NewTokens(slot, text[:length]) for slot, text in enumerate(texts)]
    together, observed = model.step(new, observe=("hidden",))
    for found, (wanted, _) in zip(together, alone, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-9)
    hidden = np.concatenate([inner["hidden"][1] for _, inner in alone])
    np.testing.assert_allclose(observed["hidden"][1], hidden, atol=1e-9)
    more = model.step([NewTokens(slot, text[length:]) for slot, text in enumerate(texts)])
    for found, text in zip(more, texts, strict=True):
        model.prefill(text[:length], slot=9, rows="last")
        np.testing.assert_allclose(found, model.extend(text[length:], slot=9), atol=1e-9)


def test_rows_of_logits_that_are_wanted(model):
    text = _tokens(20)
    whole = model.prefill(text)
    np.testing.assert_allclose(model.prefill(text, chunk=6, rows="last"), whole[-1:], atol=1e-10)
    model.close(0)
    (some,) = model.step([NewTokens(0, text, rows=[4, 0])])
    np.testing.assert_allclose(some, whole[[4, 0]], atol=1e-10)


def test_observed_values_join_over_chunks(model):
    text = _tokens(100)
    kinds = ("hidden", "selected_blocks", "blocks_read")
    _, whole = model.prefill(text, observe=kinds)
    _, parts = model.prefill(text, chunk=9, observe=kinds)
    assert list(whole["hidden"]) == [None, 0, 1, 2]
    assert list(whole["selected_blocks"]) == list(whole["blocks_read"]) == [0, 2]
    for layer, hidden in whole["hidden"].items():
        assert hidden.shape == (100, 64)
        np.testing.assert_allclose(parts["hidden"][layer], hidden, atol=1e-9)
    for layer in (0, 2):
        for index in (0, 1):
            pair = (kind["selected_blocks"][layer][index] for kind in (whole, parts))
            np.testing.assert_array_equal(*pair)
        read = np.minimum(np.arange(100) // 16 + 1, 5)
        np.testing.assert_array_equal(whole["blocks_read"][layer], np.stack([read, read], axis=1))


def test_what_cannot_be_observed_or_run(model):
    with pytest.raises(RequestError, match="scores"):
        model.prefill([1], observe=("scores",))
    with pytest.raises(RequestError, match="no tokens"):
        model.prefill([])


def test_dense_attention_differs_in_the_sparse_regime_only(directory, model):
    dense = reference_model(directory, attention=AttentionMode.DENSE)
    short, long = _tokens(63), _tokens(110)
    np.testing.assert_allclose(dense.prefill(short), model.prefill(short), atol=1e-10)
    difference = np.abs(dense.prefill(long) - model.prefill(long)).max(axis=1)
    assert difference[:80].max() < 1e-10
    assert difference[80:].max() > 1e-2


def test_weights_from_a_mapping_and_a_function(directory, model):
    checkpoint = Checkpoint.open(directory)
    tensors = {name: checkpoint.read(name).astype(np.float64) for name in checkpoint.tensors}
    expected = model.prefill([5, 6, 7])
    for source in (tensors, tensors.__getitem__):
        other = ReferenceModel(model.module, source)
        np.testing.assert_array_equal(other.prefill([5, 6, 7]), expected)


def test_a_weight_in_blocks_equals_the_weight_whole(model, monkeypatch):
    expected = model.prefill([5, 6, 7, 5])
    monkeypatch.setattr(weight_rows, "BLOCK_VALUES", 500)
    np.testing.assert_allclose(model.prefill([5, 6, 7, 5]), expected, atol=1e-12)


@pytest.mark.parametrize(("start", "stop"), [(0, 80), (3, 5), (15, 49), (40, 80), (79, 80)])
def test_rows_of_weight_expressions(start, stop):
    gate, up = np.random.default_rng(0).standard_normal((2, 40, 3))
    arithmetic = ReferenceArithmetic(row_source({"gate": gate, "up": up}), Numerics())
    pair = [WeightOp(name, WeightType((40, 3), f32)).result for name in ("gate", "up")]
    joined = evaluated(ConcatWeightsOp(pair).result, arithmetic)
    assert joined.shape == (80, 3)
    np.testing.assert_array_equal(joined.read(start, stop), np.concatenate([gate, up])[start:stop])
    mixed = evaluated(InterleaveWeightsOp(*pair, group=16).result, arithmetic)
    expected = interleave_weights(gate, up, group=16)
    assert mixed.shape == expected.shape == (96, 3)
    np.testing.assert_array_equal(mixed.read(start, stop), expected[start:stop])
    np.testing.assert_array_equal(mixed.read(start, 96), expected[start:])
    wide = evaluated(ConcatWeightsOp(pair, axis=1).result, arithmetic)
    np.testing.assert_array_equal(wide.whole(), np.concatenate([gate, up], axis=1))


def test_biases_interleave_as_their_matrices():
    gate, up = np.arange(5.0), np.arange(5.0, 10.0)
    expected = interleave_weights(gate[:, None], up[:, None], group=4)[:, 0]
    np.testing.assert_array_equal(interleave_weights(gate, up, group=4), expected)


SPLIT_LINEAR = """
func.func @step(%tokens : tensor<?xi32> {sala.name = "tokens"}) -> tensor<?x8xbf16> {
  %table = sala.weight @table : !sala.weights<[5, 4], f32>
  %a = sala.weight @a : !sala.weights<[5, 4], f32>
  %b = sala.weight @b : !sala.weights<[3, 4], f32>
  %ab = sala.concat_weights %a, %b
      : (!sala.weights<[5, 4], f32>, !sala.weights<[3, 4], f32>) -> !sala.weights<[8, 4], f32>
  %half = sala.scale_weight %ab {factor = 0.3 : f64}
      : !sala.weights<[8, 4], f32> -> !sala.weights<[8, 4], f32>
  %cast = sala.cast_weight %half : !sala.weights<[8, 4], f32> -> !sala.weights<[8, 4], bf16>
  %packed = sala.pack_weight %cast
      : !sala.weights<[8, 4], bf16> -> !sala.weights<[8, 4], bf16, #sala.layout<panel, 64>>
  %x = sala.embedding %tokens, %table : !sala.weights<[5, 4], f32> -> tensor<?x4xf32>
  %y = sala.linear %x, %packed
      : tensor<?x4xf32>, !sala.weights<[8, 4], bf16, #sala.layout<panel, 64>> -> tensor<?x8xbf16>
  func.return %y : tensor<?x8xbf16>
}
"""


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rounding", list(Rounding))
def test_types_are_rounding_points(rounding, dtype):
    generator = np.random.default_rng(0)
    tensors = {
        name: generator.standard_normal((rows, 4)).astype(np.float32)
        for name, rows in (("table", 5), ("a", 5), ("b", 3))
    }
    model = ReferenceModel(parse_module(SPLIT_LINEAR), tensors, rounding=rounding, dtype=dtype)
    (found,) = model.step([NewTokens(0, [4, 0])])
    weight = np.concatenate([tensors["a"], tensors["b"]]).astype(dtype) * 0.3
    x = tensors["table"][[4, 0]].astype(dtype)
    if rounding is Rounding.ROUNDED:
        weight = weight.astype(np.float32).astype(ml_dtypes.bfloat16).astype(dtype)
        expected = (x @ weight.T).astype(np.float32).astype(ml_dtypes.bfloat16).astype(dtype)
    else:
        expected = x @ weight.T
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


def test_computing_in_float32_stays_in_float32(directory, model):
    single = reference_model(directory, dtype=np.float32)
    text = _tokens(50)
    logits, seen = single.prefill(text, observe=("hidden",))
    assert logits.dtype == np.float32
    assert all(hidden.dtype == np.float32 for hidden in seen["hidden"].values())
    np.testing.assert_allclose(logits, model.prefill(text), atol=1e-3)


def test_numerics_take_bfloat16_arrays():
    values = np.asarray([1.5, -2.0]).astype(ml_dtypes.bfloat16)
    found = Numerics().array(values)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1.5, -2.0])


def test_attention_that_is_always_sparse(tmp_path):
    directory = write_checkpoint(tmp_path, tiny_config())
    sparse = reference_model(directory, attention=AttentionMode.SPARSE)
    _, seen = sparse.prefill(_tokens(20), observe=("selected_blocks",))
    assert (seen["selected_blocks"][0][1] >= 0).all()


def test_a_module_of_phases_is_the_same_model(model):
    phases = model.module.clone()
    SpecialisePhases().apply(make_context(), phases)
    split = ReferenceModel(phases, model.weights)
    text = _tokens(70)
    kinds = ("hidden", "selected_blocks")
    expected, seen = model.prefill(text, observe=kinds)
    found, seen_in_phases = split.prefill(text, chunk=33, observe=kinds)
    np.testing.assert_allclose(found, expected, atol=1e-10)
    np.testing.assert_allclose(seen_in_phases["hidden"][2], seen["hidden"][2], atol=1e-10)
    np.testing.assert_allclose(split.decode(9), model.decode(9), atol=1e-10)
