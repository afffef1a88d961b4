"""Live intervals of hand-written kernel calls, and of a small model."""

import pytest

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.live_intervals import phase_intervals
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.plan_intervals import dim_text, plan_memory
from sala_compile.runtime.artifact import PhaseName, Symbol, dim_of
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.dialect import KernelCallOp, plain
from sala_compile.sala_ir.frontends import frontend_for
from tests.passes.fakes import accept_all
from tests.support.checkpoints import tiny_config

H = "tensor<?x8xf32>"
LATE = "tensor<?x8xf32, #sala<rows logit_rows>>"


def call(result, *inputs, kind=H, kinds=None):
    """The text of a kernel call."""
    names = ", ".join(f"%{name}" for name in inputs)
    types = ", ".join(kinds or [H] * len(inputs))
    attributes = 'family = "f", arguments = ["control"]'
    return f"%{result} = sala.kernel_call @k({names}) {{{attributes}}} : ({types}) -> {kind}"


def plan(*lines, arguments="", returns="z", kind=H, phase="prefill"):
    """The intervals of a phase that returns one value, by the names of its values."""
    text = "\n  ".join(lines)
    head, end = f"func.func @{phase}({arguments}) -> {kind}", f"func.return %{returns} : {kind}"
    module = parse_module(f"{head} {{\n  {text}\n  {end}\n}}")
    found = phase_intervals(module.ops.first)
    return {value.name_hint: live for value, live in found.live.items()}


def bounds(live):
    return {name: (value.first, value.last) for name, value in live.items()}


def test_values_live_from_their_step_to_their_last_use():
    live = plan(call("a"), call("b", "a"), call("unused", "b"), call("z", "a"))
    assert bounds(live) == {"a": (0, 3), "b": (1, 2), "unused": (2, 2), "z": (3, 3)}


def test_a_returned_value_lives_to_the_last_step():
    live = plan(call("a"), call("z", "a"), call("b", "a"), call("c", "b"))
    assert bounds(live)["z"] == (1, 3)


def test_shapes_follow_the_rows_of_the_type_and_the_stream_is_sized_by_tokens():
    live = plan(call("a"), call("z", "a"), phase="decode")
    assert live["a"].shape == (dim_of(Symbol.SEQUENCES), 8)
    assert live["z"].shape == (dim_of(Symbol.TOKENS), 8)
    live = plan(
        call("a", "h", kind=LATE),
        call("z", "a", kind=LATE, kinds=[LATE]),
        arguments=f'%h: {H} {{sala.name = "hidden"}}',
        kind=LATE,
        phase="logits",
    )
    assert bounds(live) == {"h": (0, 1), "a": (0, 1), "z": (1, 1)}
    assert live["h"].shape == (dim_of(Symbol.TOKENS), 8)
    assert live["z"].shape == (dim_of(Symbol.LOGIT_ROWS), 8)


def test_the_logits_phase_leaves_its_stream_whole_for_the_next_rows():
    lines = (call("a", "h"), call("b", "a"), call("z", "b"))
    stream = f'%h: {H} {{sala.name = "hidden"}}'
    assert bounds(plan(*lines, arguments=stream, phase="logits"))["h"] == (0, 2)


def test_dims_read_as_people_write_them():
    assert dim_text(dim_of(Symbol.SEQUENCES, 2, 1)) == "2*sequences + 1"
    assert dim_text(dim_of(Symbol.TOKENS)) == "tokens"
    assert dim_text(16) == "16"


@pytest.fixture(scope="module")
def model():
    raw = tiny_config()
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw))
    return run_pipeline(module, sala_pipeline(Precision.BFLOAT16, accept_all))


def test_states_stay_in_their_pools(model):
    phases = plan_memory(model).phases
    for value, pool in phases[PhaseName.PREFILL].pools.items():
        assert value.type == pool.type
        assert pool.owner is model.ops.first.body.block


def test_intervals_cover_every_use(model):
    for intervals in plan_memory(model).phases.values():
        for index, step in enumerate(intervals.calls):
            for value in (*step.inputs, *step.outputs):
                if value in intervals.live:
                    live = intervals.live[value]
                    assert live.first <= index <= live.last


def test_the_plan_is_written_on_the_calls(model):
    module = parse_module(print_module(model))
    notes = [plain(op.attributes["live"]) for op in module.walk() if isinstance(op, KernelCallOp)]
    assert notes[0] == ({"first": 0, "last": 14, "shape": ("tokens", "16")},)  # rope table
    assert any(note[0].get("pool") == "layers.0.kv_cache" for note in notes)


def test_operations_without_kernels_are_refused():
    raw = tiny_config()
    frontend = frontend_for(raw)
    module = frontend.build_module(frontend.parse_config(raw))
    with pytest.raises(CompileError, match="no function @prefill"):
        plan_memory(module)
    run_pipeline(module, sala_pipeline(Precision.FLOAT32, accept_all), stop_after="encode-weights")
    with pytest.raises(CompileError, match="is not a kernel call yet"):
        plan_memory(module)


def test_states_of_one_type_are_told_apart_by_what_the_call_states():
    kv = "!sala.kv_cache<2, 16, 16, f32>"
    module = parse_module(
        f"""func.func @prefill(%a: {kv} {{sala.name = "a"}}, %b: {kv} {{sala.name = "b"}}) {{
  %x, %y = sala.kernel_call @k(%a, %b) {{family = "f", arguments = ["control"],
    updates = [[0 : i64, 1 : i64], [1 : i64, 0 : i64]]}} : ({kv}, {kv}) -> ({kv}, {kv})
  func.return
}}"""
    )
    pools = phase_intervals(module.ops.first).pools
    assert {v.name_hint: p.name_hint for v, p in pools.items()} == {
        **{"a": "a", "b": "b", "x": "b", "y": "a"}
    }
