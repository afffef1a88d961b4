"""Kernel calls over packed weights, with a selector that takes everything or nothing."""

from dataclasses import replace

import pytest

from sala_compile.passes.pipeline import run_pipeline
from sala_compile.passes.select_kernels import SelectKernels, chosen_kernels
from sala_compile.passes.support.kernel_choice import NoKernel, base_and_start, first_fitting
from sala_compile.passes.support.weight_names import weight_key, weight_name
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.dialect import (
    EmbeddingOp,
    KernelCallOp,
    LayoutAttr,
    LinearOp,
    PackWeightOp,
    SliceOp,
    WeightOp,
)
from tests.passes.fakes import PANEL, accept_all

TIED = """
func.func @prefill(%tokens: tensor<?xi32>) -> tensor<?x8xf32> {
  %e32 = sala.weight @embed.weight : !sala.weights<[5, 8], f32>
  %e = sala.cast_weight %e32 : !sala.weights<[5, 8], f32> -> !sala.weights<[5, 8], bf16>
  %h = sala.embedding %tokens, %e : !sala.weights<[5, 8], bf16> -> tensor<?x8xf32>
  func.return %h : tensor<?x8xf32>
}
func.func @logits(%x: tensor<?x8xbf16>) -> tensor<?x5xf32> {
  %e32 = sala.weight @embed.weight : !sala.weights<[5, 8], f32>
  %e = sala.cast_weight %e32 : !sala.weights<[5, 8], f32> -> !sala.weights<[5, 8], bf16>
  %y = sala.linear %x, %e : tensor<?x8xbf16>, !sala.weights<[5, 8], bf16> -> tensor<?x5xf32>
  func.return %y : tensor<?x5xf32>
}
"""

SLICES = """
func.func @prefill(%x: tensor<?x8xf32>) -> tensor<?x4xf32> {
  %w = sala.weight @w : !sala.weights<[10, 8], f32>
  %y = sala.linear %x, %w {layer = 3 : i64}
    : tensor<?x8xf32>, !sala.weights<[10, 8], f32> -> tensor<?x10xf32>
  %a = sala.slice %y {start = 2 : i64, size = 8 : i64} : tensor<?x10xf32> -> tensor<?x8xf32>
  %b = sala.slice %a {start = 3 : i64, size = 4 : i64} : tensor<?x8xf32> -> tensor<?x4xf32>
  %c = sala.slice %y {start = 0 : i64, size = 4 : i64} : tensor<?x10xf32> -> tensor<?x4xf32>
  %z = sala.output_gate %c, %b {layer = 3 : i64}
    : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x4xf32>
  func.return %z : tensor<?x4xf32>
}
"""


def select(text, selector=accept_all):
    return run_pipeline(parse_module(text), [SelectKernels(selector)])


def found(module, kind):
    return [op for op in module.walk() if isinstance(op, kind)]


def test_a_tied_embedding_reads_the_panels_of_the_head():
    module = select(TIED)
    module.verify()
    packs = found(module, PackWeightOp)
    assert [pack.result.type.layout for pack in packs] == [PANEL, PANEL]
    assert len({weight_key(pack.result) for pack in packs}) == 1
    assert {weight_name(pack.result) for pack in packs} == {"embed.weight.panel64"}
    assert not found(module, EmbeddingOp)
    assert not found(module, LinearOp)


def test_an_embedding_of_its_own_stays_row_major():
    module = select(TIED.replace("%e32 = sala.weight @embed.weight", "%e32 = sala.weight @a", 1))
    embedding, _ = found(module, KernelCallOp)
    assert embedding.inputs[1].type.layout == LayoutAttr()
    assert len(found(module, PackWeightOp)) == 1


def test_two_layouts_are_two_packed_weights_and_one_layout_is_one():
    text = """
    func.func @prefill(%x: tensor<?x8xf32>) -> (tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>) {
      %w = sala.weight @w : !sala.weights<[4, 8], f32>
      %a = sala.linear %x, %w
        : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
      %b = sala.linear %x, %w {scale = 2.0 : f64}
        : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
      %c = sala.linear %x, %w {scale = 3.0 : f64}
        : tensor<?x8xf32>, !sala.weights<[4, 8], f32> -> tensor<?x4xf32>
      func.return %a, %b, %c : tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32>
    }
    """

    def by_scale(op):
        choice = accept_all(op)
        scale = op.parameters["scale"]
        rows = 16 if scale == 3.0 else 64
        layouts = {1: LayoutAttr.panel(rows)}
        return replace(choice, symbol=f"s{int(scale)}", weight_layouts=layouts)

    module = select(text, by_scale)
    names = [weight_name(pack.result) for pack in found(module, PackWeightOp)]
    assert sorted(names) == ["w.panel16", "w.panel64"]
    first, second, third = found(module, KernelCallOp)
    assert first.inputs[1] is second.inputs[1]
    assert third.inputs[1] is not first.inputs[1]


def test_slices_are_resolved_to_base_and_column():
    starts = {}

    def selector(op):
        starts[op.name] = [base_and_start(value)[1] for value in op.operands]
        return accept_all(op)

    module = select(SLICES, selector)
    assert starts["sala.output_gate"] == [0, 5]
    linear, gate = found(module, KernelCallOp)
    assert list(gate.inputs) == [linear.outputs[0]] * 2
    assert not found(module, SliceOp)
    assert gate.layer == linear.layer == 3


def test_selection_is_idempotent():
    module = select(SLICES)
    text = print_module(module)
    assert print_module(run_pipeline(module, [SelectKernels(accept_all)])) == text


def test_the_choices_are_on_record():
    module = parse_module(print_module(select(SLICES)))
    linear, gate = sorted(chosen_kernels(module), key=lambda kernel: kernel.family, reverse=True)
    assert (gate.family, gate.rule) == ("linear", "any linear")
    assert linear.rejected == (("none", "too narrow"),)
    assert linear.spec["kinds"] == ("tensor<?x4xf32>", "tensor<?x4xf32>")


def test_refusals_are_listed():
    rules = [("wide", lambda op: "fewer than 64 columns"), ("fast", lambda op: "no avx512")]
    with pytest.raises(CompileError) as caught:
        select(SLICES, lambda op: first_fitting(op, rules))
    text = str(caught.value)
    assert "sala.linear" in text
    assert "layer 3 in @prefill" in text
    assert "wide: fewer than 64 columns; fast: no avx512" in text


def test_the_first_rule_that_fits_is_taken_with_the_refusals_before_it():
    module = parse_module(SLICES)
    op = found(module, LinearOp)[0]
    rules = [("no", lambda op: "never"), ("yes", accept_all), ("later", accept_all)]
    choice = first_fitting(op, rules)
    assert (choice.rule, choice.rejected) == ("yes", (("no", "never"),))
    assert first_fitting(op, rules[:1]) == NoKernel((("no", "never"),))


def test_one_symbol_for_two_specs_is_refused():
    def same_symbol(op):
        return replace(accept_all(op), symbol="kernel")

    with pytest.raises(CompileError, match="two kernels are called kernel"):
        select(SLICES, same_symbol)


def test_names_of_joined_weights():
    module = parse_module("""
    func.func @f() -> (!sala.weights<[8, 4], f32>, !sala.weights<[32, 4], f32>) {
      %q = sala.weight @layers.0.attn.q.weight : !sala.weights<[4, 4], f32>
      %k = sala.weight @layers.0.attn.k.weight : !sala.weights<[4, 4], f32>
      %a = sala.concat_weights %q, %k
        : (!sala.weights<[4, 4], f32>, !sala.weights<[4, 4], f32>) -> !sala.weights<[8, 4], f32>
      %b = sala.interleave_weights %q, %k
        : !sala.weights<[4, 4], f32>, !sala.weights<[4, 4], f32> -> !sala.weights<[32, 4], f32>
      func.return %a, %b : !sala.weights<[8, 4], f32>, !sala.weights<[32, 4], f32>
    }
    """)
    *_, joined, interleaved, _ = module.ops.first.body.block.ops
    assert weight_name(joined.results[0]) == "layers.0.attn.q+k.weight"
    assert weight_name(interleaved.results[0]) == "layers.0.attn.q|k.weight"
    assert weight_name(found(module, WeightOp)[0].results[0]) == "layers.0.attn.q.weight"
    assert weight_key(joined.results[0]) != weight_key(interleaved.results[0])
