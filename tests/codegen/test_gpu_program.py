"""GPU targets beside others in one artifact: values, weights and what they are held against."""

from dataclasses import replace

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from sala_compile.codegen.kernels.arguments import Argument, batch, given
from sala_compile.codegen.program.abi import check_calls
from sala_compile.codegen.program.assemble import Assembly
from sala_compile.codegen.program.call_paths import SINGLE
from sala_compile.codegen.targets import cubins_name, library_name, parse_target, split_targets
from sala_compile.codegen.write.emit import weight_files
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.support.kernel_choice import KernelChoice, NoKernel
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import Phase, PhaseName, Program, Step, ValueKind
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.frontends import frontend_for
from tests.passes.fakes import accept_all
from tests.support.checkpoints import tiny_config


def _row_major(op: Operation) -> KernelChoice | NoKernel:
    choice = accept_all(op)
    assert isinstance(choice, KernelChoice)
    return replace(choice, weight_layouts={})


def _lowered(captured: ModuleOp, selector) -> ModuleOp:
    module = captured.clone()
    passes = sala_pipeline(Precision.BFLOAT16, selector, Quantization.NONE)
    run_pipeline(module, passes, [])
    return module


@pytest.fixture(scope="module")
def assembly() -> Assembly:
    """One CPU and two GPUs."""
    raw = tiny_config(tied=False)
    frontend = frontend_for(raw)
    captured = frontend.build_module(frontend.parse_config(raw))
    made = Assembly()
    made.add("cpu", _lowered(captured, accept_all))
    gpu = _lowered(captured, _row_major)
    made.add("cuda:sm_90", gpu, "gpu", read_multiple=512)
    made.add("cuda:sm_120", gpu, "gpu")
    made.program((SINGLE,))
    return made


def test_gpus_share_pools_of_their_own(assembly):
    values = assembly.table.values
    pools = {name: value for name, value in values.items() if value.kind is ValueKind.POOL}
    assert pools["cuda/layers.0.kv_cache.k"].shape[1:] == (2, 16, 16)
    assert pools["layers.0.kv_cache.k"].shape[1:] == (2, 8, 16, 2)
    assert pools["cuda/layers.2.kv_cache.v"].shape[1:] == (2, 16, 16)
    assert pools["cuda/layers.0.compressed_keys.fine"].shape[1:] == (2, 256, 16)
    assert pools["cuda/layers.0.compressed_keys.coarse"].shape[1:] == (2, 64, 16)
    states = [name for name in pools if "recurrent" in name]
    assert states == ["layers.1.recurrent_state"]
    for target in ("cuda:sm_90", "cuda:sm_120"):
        used = _mentioned(assembly, target) & set(pools)
        assert used == {name for name in pools if name.startswith("cuda/")} | set(states)
    assert not any(name.startswith("cuda/") for name in _mentioned(assembly, "cpu"))


def test_a_target_states_its_cuts_and_that_generated_tokens_run_apart(assembly):
    found = {name: (each.read_multiple, each.splits) for name, each in assembly.targets.items()}
    assert found == {"cpu": (64, False), "cuda:sm_90": (512, True), "cuda:sm_120": (64, True)}


def test_weights_are_stored_once_and_in_files_of_their_readers(assembly):
    weights = assembly.table.weights.weights
    readers = {name: weight.readers for name, weight in weights.items()}
    assert readers["model.layers.0.mlp.down_proj.weight"] == ("gpu",)
    assert readers["model.layers.0.mlp.down_proj.weight.panel64"] == ("cpu",)
    assert readers["model.layers.0.input_layernorm.weight"] == ("cpu", "gpu")
    assert readers["model.embed_tokens.weight"] == ("cpu", "gpu")
    by_reader = sorted(weights.values(), key=lambda weight: weight.readers)
    files = weight_files(by_reader)
    assert len(files) == 3
    for group in files.values():
        assert len({weight.readers for weight in group}) == 1


def _mentioned(assembly: Assembly, target: str) -> set[str]:
    steps = (step for phase in assembly.targets[target].phases.values() for step in phase.steps)
    return {name for step in steps for name in step.arguments}


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["cpu"], ("cpu",)),
        (["cuda:sm_90,sm_120"], ("cuda:sm_90", "cuda:sm_120")),
        (["cpu,cuda:sm_90", "cuda:sm_90"], ("cpu", "cuda:sm_90")),
        (["cpu:x86-64-v3,x86-64-v4"], ("cpu:x86-64-v3", "cpu:x86-64-v4")),
        (["sm_90"], ("sm_90",)),
    ],
)
def test_lists_of_targets(given, names):
    assert split_targets(given) == names


def test_another_kind_of_target_is_refused():
    with pytest.raises(CompileError, match="unknown target 'sm_90'") as caught:
        parse_target("sm_90")
    assert "cuda:sm_90" in str(caught.value)


def test_files_are_named_after_the_target():
    assert library_name("cuda:sm_90") == "lib/cuda-sm_90.json"
    assert cubins_name("cuda:sm_90") == "lib/cuda-sm_90.cubins"
    assert library_name("cpu:x86-64-v3") == "lib/cpu-x86-64-v3.so"


def test_a_gpu_kernel_is_held_against_its_call(assembly):
    program = assembly.program((SINGLE,))
    step = Step(kernel="k", family="k", arguments=("control", "cuda/layers.0.kv_cache.k"))
    phases = {PhaseName.DECODE: Phase(steps=(step,))}
    calls = program.targets["cuda:sm_90"].model_copy(update={"phases": phases})
    one = program.model_copy(update={"targets": {"cuda:sm_90": calls}})

    def check(*arguments: Argument) -> None:
        check_calls(one, "cuda:sm_90", {"k": arguments})

    (control,) = batch("control")
    check(control, given("pool", "bf16", *("pages", 2, 16, 16)))
    with pytest.raises(CompileError, match="takes 1 arguments, not 2"):
        check(control)
    with pytest.raises(CompileError, match="is uint16, the kernel reads float32"):
        check(control, given("pool", "f32", *("pages", 2, 16, 16)))
    with pytest.raises(CompileError, match="the kernel reads"):
        check(control, given("pool", "bf16", *("pages", 2, 8, 16)))
    with pytest.raises(CompileError, match="the kernel reads"):
        check(control, given("pool", "bf16", *("pages", 2, 256)))


def test_the_program_is_valid(assembly):
    program = assembly.program((SINGLE,))
    assert Program.model_validate_json(program.model_dump_json()) == program
