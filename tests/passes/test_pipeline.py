"""The pipeline as a whole: its order, its callbacks, what remains of the released model."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from xdsl.dialects.builtin import StringAttr, f32
from xdsl.passes import ModulePass

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.plan_intervals import plan_memory
from sala_compile.passes.specialise_phases import SpecialisePhases
from sala_compile.passes.support.callbacks import DumpEach, RecordEach, verify_each, verify_ends
from sala_compile.passes.support.functions import find_function
from sala_compile.runtime.artifact import MODEL_PHASES
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.dialect import KernelCallOp, LinearOp, WeightType
from sala_compile.sala_ir.frontends import AttentionMode, frontend_for
from tests.passes.fakes import accept_all
from tests.support.checkpoints import tiny_config

RELEASED = Path(__file__).parents[2] / "examples" / "released-config.json"
SPARSE_LAYERS = (0, 9, 16, 17, 22, 29, 30, 31)
SPARSE_CALLS = [
    *("rms_norm", "linear", "append_kv", "compress_keys", "select_blocks", "attend_blocks"),
    *("linear", "rms_norm", "linear", "linear"),
]
LIGHTNING_CALLS = [
    *("rms_norm", "linear", "lightning_attention", "rms_norm"),
    *("linear", "rms_norm", "linear", "linear"),
]
DENSE_CALLS = [name for name in SPARSE_CALLS if name not in ("compress_keys", "select_blocks")]


def captured(raw, attention=AttentionMode.CONFIG):
    frontend = frontend_for(raw)
    return frontend.build_module(frontend.parse_config(raw), attention)


def calls(module, phase):
    func = find_function(module, phase)
    return [op for op in func.walk() if isinstance(op, KernelCallOp)]


def families(module, phase, layer):
    return [op.family.data for op in calls(module, phase) if op.layer == layer]


@pytest.fixture(scope="module")
def released():
    recorder = RecordEach()
    module = captured(json.loads(RELEASED.read_text()))
    passes = sala_pipeline(Precision.BFLOAT16, accept_all)
    return run_pipeline(module, passes, [verify_each, recorder]), recorder.records


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_released_model_is_ten_and_eight_calls_a_layer(released, phase):
    module, _ = released
    for layer in range(32):
        expected = SPARSE_CALLS if layer in SPARSE_LAYERS else LIGHTNING_CALLS
        assert families(module, phase, layer) == expected, f"layer {layer}"
    assert families(module, phase, None) == ["rope_table", "embedding"]
    assert len(calls(module, phase)) == 8 * 10 + 24 * 8 + 2


def test_the_released_model_ends_with_two_calls(released):
    assert families(released[0], "logits", None) == ["rms_norm", "linear"]


def test_every_weight_of_a_linear_is_packed_bf16_and_every_norm_f32(released):
    for op in calls(released[0], "prefill"):
        kinds = [value.type for value in op.inputs if isinstance(value.type, WeightType)]
        for kind in kinds:
            is_matrix = len(kind.get_shape()) == 2
            assert (kind.element_type != f32) == is_matrix
            assert (kind.layout.kind.data == "panel") == (op.family.data == "linear")


def test_the_released_plan_covers_all_calls(released):
    plan = plan_memory(released[0])
    for phase in MODEL_PHASES:
        assert plan.phases[phase].calls == tuple(calls(released[0], phase.value))


def test_records_name_every_pass_and_count_what_it_leaves(released):
    records = released[1]
    assert [record.name for record in records] == [
        item.name for item in sala_pipeline(Precision.BFLOAT16, accept_all)
    ]
    assert all(a.after == b.before for a, b in pairwise(records))
    assert all(record.seconds >= 0 for record in records)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (AttentionMode.CONFIG, SPARSE_CALLS),
        (AttentionMode.SPARSE, SPARSE_CALLS),
        (AttentionMode.DENSE, DENSE_CALLS),
    ],
)
def test_attention_modes(mode, expected):
    module = captured(tiny_config(), mode)
    run_pipeline(module, sala_pipeline(Precision.FLOAT32, accept_all), [verify_each])
    assert families(module, "decode", 0) == expected


def test_models_without_gates_norms_or_rope_are_kernel_calls_too():
    raw = tiny_config(
        attn_use_output_gate=False,
        use_output_gate=False,
        use_output_norm=False,
        qk_norm=False,
        lightning_use_rope=False,
        attn_use_rope=True,
        attention_bias=True,
    )
    module = captured(raw)
    run_pipeline(module, sala_pipeline(Precision.BFLOAT16, accept_all), [verify_each])
    assert Counter(families(module, "prefill", 0)) == Counter([*SPARSE_CALLS, "rope", "rope"])
    assert families(module, "prefill", 1) == LIGHTNING_CALLS[:3] + LIGHTNING_CALLS[4:]


def test_an_output_gate_without_a_norm_is_a_call_of_its_own():
    module = captured(tiny_config(use_output_norm=False))
    run_pipeline(module, sala_pipeline(Precision.BFLOAT16, accept_all), [verify_each])
    expected = ["output_gate" if i == 3 else name for i, name in enumerate(LIGHTNING_CALLS)]
    assert families(module, "prefill", 1) == expected


def test_every_dump_is_a_module_that_reads_back(tmp_path):
    module = captured(tiny_config())
    passes = sala_pipeline(Precision.BFLOAT16, accept_all)
    dump = DumpEach(tmp_path / "ir")
    run_pipeline(module, passes, [verify_each, dump])
    names = [path.name for path in sorted((tmp_path / "ir").iterdir())]
    expected = ["captured", *(item.name for item in passes)]
    assert names == [f"{index:03d}_{name}.mlir" for index, name in enumerate(expected)]
    for path in dump.written:
        parse_module(path.read_text(), name=path.name)
    assert dump.written[-1].read_text() == print_module(module)


def test_stop_after_runs_no_further():
    module = captured(tiny_config())
    seen = []
    run_pipeline(
        module,
        sala_pipeline(Precision.FLOAT32, accept_all),
        [lambda before, _, after: seen.append((before and before.name, after and after.name))],
        stop_after="merge-projections",
    )
    assert seen == [
        (None, "assign-precision"),
        ("assign-precision", "set-page-size"),
        ("set-page-size", "round-pages"),
        ("round-pages", "quantize-weights"),
        ("quantize-weights", "quantize-activations"),
        ("quantize-activations", "merge-projections"),
        ("merge-projections", None),
    ]


def test_an_unknown_pass_to_stop_after_is_named():
    passes = sala_pipeline(Precision.FLOAT32, accept_all)
    with pytest.raises(CompileError, match='there is no pass "fuse"') as caught:
        run_pipeline(captured(tiny_config()), passes, stop_after="fuse")
    assert "fuse-residual" in str(caught.value)


def test_a_pass_that_breaks_the_module_is_named():
    class Breaks(ModulePass):
        name = "breaks"

        def apply(self, ctx, op):
            linear = next(x for x in op.walk() if isinstance(x, LinearOp))
            linear.properties["epilogue"] = StringAttr("relu")

    for verify in (verify_each, verify_ends):
        with pytest.raises(CompileError) as caught:
            run_pipeline(captured(tiny_config()), [Breaks()], [verify])
        assert "after breaks" in str(caught.value)


def test_more_than_one_value_to_the_logits_is_refused():
    late = "#sala<rows logit_rows>"
    module = parse_module(f"""
    func.func @step(%a: tensor<?xi32> {{sala.name = "tokens"}},
        %rows: tensor<?xi32> {{sala.name = "logit_rows"}}) -> tensor<?x5xf32, {late}> {{
      %e = sala.weight @e : !sala.weights<[5, 5], f32>
      %w = sala.weight @w : !sala.weights<[5], f32>
      %h = sala.embedding %a, %e : !sala.weights<[5, 5], f32> -> tensor<?x5xf32>
      %g = sala.output_gate %h, %h : tensor<?x5xf32>, tensor<?x5xf32> -> tensor<?x5xf32>
      %y = sala.logits %h, %rows, %e
        : tensor<?x5xf32>, !sala.weights<[5, 5], f32> -> tensor<?x5xf32, {late}>
      %z = sala.rms_norm %g, %w rows(%rows) gate(%y : tensor<?x5xf32, {late}>) {{eps = 0.0 : f64}}
        : tensor<?x5xf32>, !sala.weights<[5], f32> -> tensor<?x5xf32, {late}>
      func.return %z : tensor<?x5xf32, {late}>
    }}
    """)
    with pytest.raises(CompileError, match="%g, %h crosses from the trunk"):
        run_pipeline(module, [SpecialisePhases()])


def test_two_runs_print_the_same():
    texts = {
        print_module(
            run_pipeline(captured(tiny_config()), sala_pipeline(Precision.BFLOAT16, accept_all))
        )
        for _ in range(2)
    }
    assert len(texts) == 1
