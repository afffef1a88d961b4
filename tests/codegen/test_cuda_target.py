"""GPU kernels compiled ahead of time: no GPU, no driver."""

import hashlib
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import triton
import triton.language as tl
from click.testing import CliRunner

from sala_compile.codegen.cli.compile import command
from sala_compile.codegen.gpu_code import assembler, cubin
from sala_compile.codegen.gpu_code.cubin import KernelSource, source_of
from sala_compile.codegen.kernels.triton.kernel import (
    ONE,
    Extent,
    GpuKernel,
    Launch,
    Parameter,
    Pointer,
)
from sala_compile.codegen.targets.cuda import SHARED_BYTES, CudaTarget
from sala_compile.codegen.write import gpu_library
from sala_compile.codegen.write.gpu_library import BuiltLibrary, build_library
from sala_compile.runtime.artifact import ArgumentKind, GpuKernelInfo
from sala_compile.runtime.artifact.architectures import ARCHITECTURES
from sala_compile.runtime.artifact.occupancy import MULTIPROCESSORS, blocks_by_limit
from sala_compile.runtime.errors import CompileError
from tests.support.interpreted import run
from tests.support.shared_objects import SharedCode, SharedPtx
from tests.support.toy_kernel import toy_kernel

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def _target(architecture: int) -> CudaTarget:
    return CudaTarget.parse(f"cuda:sm_{architecture}")


def _build(*kernels: GpuKernel, architecture: int = 90) -> BuiltLibrary:
    named = {kernel.symbol: kernel for kernel in kernels}
    return build_library(named, _target(architecture), "lib/toy.cubins", lambda count: None)


def _digest(library: BuiltLibrary) -> str:
    table = library.table.model_dump_json().encode()
    return hashlib.sha256(table + library.cubins).hexdigest()


@pytest.mark.parametrize("text", ["cuda", "cuda:sm_42", "cuda:90", "rocm:gfx942"])
def test_unknown_architectures_are_refused(text: str):
    with pytest.raises(CompileError, match="unknown target") as caught:
        CudaTarget.parse(text)
    assert "sm_90" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code"),
    [("sm_121", "sm_120"), ("sm_103", "sm_100"), ("sm_90a", "sm_90"), ("sm_88", "sm_90")],
)
def test_owners_of_other_gpus_are_told_whose_code_they_run(text: str, code: str):
    with pytest.raises(CompileError) as caught:
        CudaTarget.parse(f"cuda:{text}")
    assert f"--target cuda:{code}" in str(caught.value)


@pytest.mark.parametrize("architecture", sorted(SHARED_BYTES))
def test_every_architecture_gets_its_code(architecture: int):
    library = _build(toy_kernel(), architecture=architecture)
    (slabs,) = library.table.kernels["toy"].steps
    for launch in slabs.launches:
        code = library.cubins[launch.offset : launch.offset + launch.size]
        assert code.startswith(b"\x7fELF")
        assert launch.entry.encode() in code
        assert launch.registers > 0
        assert launch.spill_bytes == 0
        assert launch.threads == 32
    older = architecture < 90
    assert library.table.architecture == f"sm_{architecture}"
    assert library.table.driver == int(library.table.toolkit.split(".")[0]) * 1000
    assert (library.table.driver == 12000) == older


def test_arguments_stand_in_the_order_of_the_abi():
    library = _build(toy_kernel(pitch=48, slab=16))
    (slabs,) = library.table.kernels["toy"].steps
    squares = slabs.launches[0].arguments
    kinds = [argument.kind.value for argument in squares]
    assert kinds == ["pointer", "pointer", "pointer", "extent", "slab_start", "null", "null"]
    assert [argument.parameter for argument in squares[:4]] == ["control", "x", "y", "x"]
    assert [argument.divisible for argument in squares] == [16, 16, 16, 16, 16, 1, 1]
    odd = _build(toy_kernel(pitch=40, slab=4)).table.kernels["toy"]
    assert [each.divisible for each in next(odd.launches()).arguments[3:5]] == [1, 1]


@pytest.fixture
def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled here is compiled indeed, whatever other tests have compiled."""
    for name in ("_ptx", "assemble"):
        monkeypatch.setattr(cubin, name, getattr(cubin, name).alone)


@pytest.mark.usefixtures("unshared")
def test_the_same_bytes_twice_and_no_paths_in_them(monkeypatch: pytest.MonkeyPatch):
    once = _build(toy_kernel())
    monkeypatch.setattr(gpu_library, "_cubins", {})
    again = _build(toy_kernel())
    assert once == again
    assert str(ROOT).encode() not in once.cubins
    assert b".py" not in once.cubins
    assert b"sala-ptx" not in once.cubins


def test_another_assembler_can_be_named(monkeypatch: pytest.MonkeyPatch):
    """The usual variable of Triton; code of a newer toolkit wants newer drivers."""
    assert _build(toy_kernel(), architecture=80).table.driver == 12000
    monkeypatch.setenv("TRITON_PTXAS_PATH", str(TOOLS / "ptxas-blackwell"))
    newer = _build(toy_kernel(), architecture=80).table
    assert (newer.toolkit.split(".")[0], newer.driver) == ("13", 13000)


@pytest.mark.parametrize("architecture", [90, 100, 120])
def test_an_assembler_whose_code_is_wrong_is_refused(
    architecture: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TRITON_PTXAS_BLACKWELL_PATH", str(TOOLS / "ptxas"))
    with pytest.raises(CompileError, match=r"of CUDA 12\.\d+, whose code") as caught:
        _build(toy_kernel(), architecture=architecture)
    oldest = "13.3" if architecture == 90 else "13.0"
    assert f"an assembler of CUDA {oldest} or newer" in str(caught.value)
    assert "TRITON_PTXAS_BLACKWELL_PATH" in str(caught.value)


def test_equal_launches_are_compiled_and_stored_once(monkeypatch: pytest.MonkeyPatch):
    kernel = toy_kernel()
    twin = GpuKernel("twin", kernel.parameters, kernel.launches)
    both = _build(kernel, twin)
    assert both.cubins == _build(kernel).cubins
    assert set(both.table.kernels) == {"toy", "twin"}
    monkeypatch.setattr(gpu_library, "compile_source", None)
    _build(twin)


def test_processes_of_a_test_run_share_what_they_compiled(
    tmp_path: Path, unshared: None, monkeypatch: pytest.MonkeyPatch
):
    """One that equals it in all that the code depends on; nothing else."""
    written, assembled, plain = [], [], cubin._ptx

    def write(source: KernelSource, target: CudaTarget) -> tuple[str, dict[str, Any]]:
        written.append(target.name)
        return plain(source, target)

    def assemble(text: str, target: CudaTarget, *, fusion: bool) -> assembler.Assembled:
        assembled.append(fusion)
        return assembler.Assembled(text.encode(), 8, 0, ())

    kernels = toy_kernel(), toy_kernel(), _product_kernel()
    sources = [cubin.source_of(next(each.each_launch()), each) for each in kernels]
    sources.append(replace(sources[0], warps=2))
    for target in (CudaTarget(90), CudaTarget(80)):
        for source in sources:
            for _ in range(2):
                text, facts = SharedPtx(tmp_path, write)(source, target)
                expected = plain(source, target)
                assert text == expected[0]
                assert facts.items() <= expected[1].items()
                for fusion in (True, False):
                    found = SharedCode(tmp_path, assemble)(text, target, fusion=fusion)
                    assert found.code == text.encode()
    assert written == ["cuda:sm_90"] * 3 + ["cuda:sm_80"] * 3
    assert assembled == [True, False] * 6


def test_another_process_gives_the_same_bytes_and_leaves_no_cache(tmp_path: Path):
    code = (
        "from tests.codegen.test_cuda_target import _build, _digest, toy_kernel\n"
        "print(_digest(_build(toy_kernel())))"
    )
    environment = {
        "PYTHONHASHSEED": "7",
        "HOME": str(tmp_path),
        "TRITON_HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.stdout.split() == [_digest(_build(toy_kernel()))], done.stderr
    assert list(tmp_path.iterdir()) == []


@triton.jit
def _wide_product(a, b, out, N: tl.constexpr):
    index = tl.arange(0, N)
    at = index[:, None] * N + index[None, :]
    for step in range(4):
        tl.store(out + at, tl.dot(tl.load(a + at + step), tl.load(b + at + step)))


def test_too_much_shared_memory_is_refused_by_name():
    pointers = {"a": Pointer("a", "bf16"), "b": Pointer("b", "bf16"), "out": Pointer("out", "fp32")}
    launch = Launch(_wide_product, (ONE, ONE, ONE), pointers, {"N": 256}, warps=8, stages=2)
    types = {"a": "uint16", "b": "uint16", "out": "float32"}
    parameters = tuple(Parameter(name, dtype, (65536,)) for name, dtype in types.items())
    with pytest.raises(CompileError, match="bytes of shared memory") as caught:
        _build(GpuKernel("wide", parameters, (launch,)), architecture=86)
    assert "at most 101376 bytes" in str(caught.value)
    assert "wide for cuda:sm_86" in str(caught.value)


PTX = """
.version 8.7
.target sm_90a
.address_size 64
.visible .entry f(.param .u64 p) .reqntid 128 {{
  .reg .f32 %f<4>;
  .reg .b64 %d<2>;
  ld.param.u64 %d0, [p];
  mov.u64 %d1, 4096;
  ld.global.v4.f32 {{%f0, %f1, %f2, %f3}}, [%d0];
  wgmma.fence.sync.aligned;
  {product}
  {between}
  {product}
  wgmma.commit_group.sync.aligned;
  wgmma.wait_group.sync.aligned 0;
  st.global.v4.f32 [%d0], {{%f0, %f1, %f2, %f3}};
  ret;
}}
"""
PRODUCT = (
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 "
    "{%f0, %f1, %f2, %f3}, %d1, %d1, 1, 1, 1, 0, 0;"
)


def test_what_the_assembler_warns_of_is_kept(monkeypatch: pytest.MonkeyPatch):
    """A sum that is used before its products are awaited."""
    free, serial = (
        PTX.format(product=PRODUCT, between=between)
        for between in ("", "wgmma.commit_group.sync.aligned; st.global.f32 [%d0+64], %f1;")
    )
    assert assembler.assemble(free, CudaTarget(90), fusion=True).warnings == ()
    (warning,) = assembler.assemble(serial, CudaTarget(90), fusion=True).warnings
    assert re.match(r"C75\d\d: .*wgmma", warning)
    assert not re.search(r"line \d|'f'", warning)
    facts = {"name": "f", "shared": 0, "tmem_size": 0, "num_warps": 4}
    facts |= {"global_scratch_size": 0, "profile_scratch_size": 0}
    monkeypatch.setattr(cubin, "_ptx", lambda source, target: (serial, facts))
    monkeypatch.setattr(gpu_library, "_cubins", {})
    (kept,) = _build(toy_kernel()).table.kernels["toy"].steps
    assert [launch.warnings for launch in kept.launches] == [(warning,), (warning,)]


@pytest.mark.parametrize(("columns", "refused"), [(512, False), (513, True)])
def test_tensor_memory_beyond_a_multiprocessor_is_refused(
    columns: int, refused: bool, monkeypatch: pytest.MonkeyPatch
):
    facts = {"name": "f", "shared": 0, "tmem_size": columns, "num_warps": 4}
    facts |= {"global_scratch_size": 0, "profile_scratch_size": 0}
    monkeypatch.setattr(cubin, "_ptx", lambda source, target: ("", facts))
    done = assembler.Assembled(b"", 32, 0, ())
    monkeypatch.setattr(cubin, "assemble", lambda text, target, fusion: done)
    kernel = toy_kernel()
    source = cubin.source_of(next(kernel.each_launch()), kernel)
    if not refused:
        assert cubin.compile_source(source, CudaTarget(100), "toy").tensor_columns == columns
        return
    with pytest.raises(CompileError, match="513 columns of tensor memory") as caught:
        cubin.compile_source(source, CudaTarget(100), "toy")
    assert "toy for cuda:sm_100" in str(caught.value)
    assert "at most 512 columns" in str(caught.value)


def test_nothing_spills_for_blocks_that_have_no_room(monkeypatch: pytest.MonkeyPatch):
    """Two blocks fit the shared memory: the assembler is told, and has registers for two."""
    text = PTX.format(product=PRODUCT, between="")
    facts = {"name": "f", "shared": 80 << 10, "tmem_size": 0, "num_warps": 8}
    facts |= {"global_scratch_size": 0, "profile_scratch_size": 0}
    monkeypatch.setattr(cubin, "_ptx", lambda source, target: (text, facts))

    def assemble(text: str, target: CudaTarget, *, fusion: bool) -> assembler.Assembled:
        told = ".minnctapersm 2 " in text
        return assembler.Assembled(b"", 80 if told else 48, 0 if told else 12, ())

    monkeypatch.setattr(cubin, "assemble", assemble)
    kernel = toy_kernel()
    source = cubin.source_of(next(kernel.each_launch()), kernel)
    made = cubin.compile_source(source, CudaTarget(90), "f")
    assert (made.registers, made.spill_bytes) == (80, 0)


@triton.jit
def _product(a, b, out):
    index = tl.arange(0, 128)
    at = index[:, None] * 128 + index[None, :]
    tl.store(out + at, tl.dot(tl.load(a + at), tl.load(b + at)))


def _product_kernel() -> GpuKernel:
    pointers = {"a": Pointer("a", "bf16"), "b": Pointer("b", "bf16"), "out": Pointer("out", "fp32")}
    launch = Launch(_product, (ONE, ONE, ONE), pointers, {})
    types = {"a": "uint16", "b": "uint16", "out": "float32"}
    parameters = tuple(Parameter(name, dtype, (16384,)) for name, dtype in types.items())
    return GpuKernel("product", parameters, (launch,))


def test_the_log_of_the_assembler_is_read_whole():
    log = """
ptxas info    : (C7510) Potential Performance Loss: one thing in the function 'f' in line 7
ptxas info    : (C7510) Potential Performance Loss: one thing in the function 'f' in line 9
ptxas warning : (C7508) another thing
ptxas /tmp/x.ptx, line 3; warning : a third thing
ptxas info    : Used 56 registers, used 1 barriers
    0 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
"""
    found = assembler._read_log(b"", log)
    assert found.warnings == (
        "C7510: Potential Performance Loss: one thing",
        "C7508: another thing",
        "a third thing",
    )
    assert (found.registers, found.spill_bytes) == (56, 12)


def test_tensor_memory_is_counted_and_limited(monkeypatch: pytest.MonkeyPatch):
    kernel = _product_kernel()
    launch = next(_build(kernel, architecture=100).table.kernels["product"].launches())
    assert launch.tensor_columns >= 64
    assert blocks_by_limit(launch, "sm_100")["tensor memory"] == 512 // launch.tensor_columns
    assert next(_build(kernel).table.kernels["product"].launches()).tensor_columns == 0
    monkeypatch.setattr(gpu_library, "_cubins", {})
    monkeypatch.setattr(cubin, "TENSOR_COLUMNS", launch.tensor_columns - 1)
    with pytest.raises(CompileError, match=r"needs \d+ columns of tensor memory") as caught:
        _build(kernel, architecture=100)
    assert "product for cuda:sm_100" in str(caught.value)


@pytest.mark.usefixtures("unshared")
@pytest.mark.parametrize("architecture", [100, 120])
def test_code_of_a_family_has_the_instructions_of_its_member(
    architecture: int, monkeypatch: pytest.MonkeyPatch
):
    """Only the note for whom the code is differs from what Triton itself would assemble."""
    kernel = _product_kernel()
    family = _build(kernel, architecture=architecture)
    monkeypatch.setattr(gpu_library, "_cubins", {})
    monkeypatch.setattr(assembler, "FAMILIES", 1000)
    assembler._gpu_name.cache_clear()
    alone = _build(kernel, architecture=architecture)
    assembler._gpu_name.cache_clear()
    assert family.cubins != alone.cubins
    assert _instructions(family) == _instructions(alone)


def _instructions(library: BuiltLibrary) -> list[str]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(library.cubins)
        file.flush()
        command = [str(TOOLS / "nvdisasm"), "-hex", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"/\* 0x[0-9a-f]{16} \*/", text)
    assert len(found) > 100
    return found


def test_the_architectures_are_those_that_artifacts_may_name():
    assert tuple(f"sm_{number}" for number in SHARED_BYTES) == ARCHITECTURES
    assert set(MULTIPROCESSORS) == set(ARCHITECTURES)


def test_fusion_can_be_turned_off():
    kernel = toy_kernel()
    source = source_of(next(kernel.each_launch()), kernel, 4)
    assert source.fusion
    assert (
        source.key
        != source_of(
            Launch(
                source.function,
                (ONE, ONE, ONE),
                next(kernel.each_launch()).arguments,
                source.constants,
                1,
                fusion=False,
            ),
            kernel,
            4,
        ).key
    )


def test_a_record_refuses_arguments_that_name_nothing():
    record = _build(toy_kernel()).table.kernels["toy"].model_dump()
    record["steps"][0]["launches"][0]["arguments"][0]["parameter"] = "nothing"
    with pytest.raises(ValueError, match="unknown parameter nothing"):
        GpuKernelInfo.model_validate(record)
    record["steps"][0]["launches"][0]["arguments"][0]["parameter"] = "control"
    record["steps"][0]["launches"][0]["arguments"][3]["dim"] = 2
    with pytest.raises(ValueError, match="x has no dimension 2"):
        GpuKernelInfo.model_validate(record)


def test_interpreting_and_compiling_share_a_process(monkeypatch: pytest.MonkeyPatch):
    import numpy as np

    buffers = {
        "control": np.full(16, 2, np.int32),
        "x": np.ones((2, 48), np.float32),
        "y": np.zeros((4, 48), np.uint16),
        "out": np.zeros(2, np.float32),
    }
    before = _build(toy_kernel())
    run(toy_kernel(), buffers, {"tokens": 2})
    assert buffers["out"].tolist() == [48.5, 48.5]
    monkeypatch.setattr(gpu_library, "_cubins", {})
    assert _build(toy_kernel()) == before


def test_without_triton_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    with pytest.raises(CompileError, match="Triton is not installed") as caught:
        CudaTarget.parse("cuda:sm_90")
    assert "sala-compile[compile,gpu]" in str(caught.value)


def test_the_command_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    result = CliRunner().invoke(command, ["nowhere", "-o", "x.sala", "--target", "cuda:sm_90"])
    assert result.exit_code == 2
    assert "pip install 'sala-compile[compile,gpu]'" in result.stderr


def test_extents_of_capacities_are_only_known_by_promise():
    kernel = GpuKernel(
        "copy",
        (Parameter("x", "float32", ("rows", "columns")),),
        (
            Launch(
                _take,
                (ONE, ONE, ONE),
                {"x": Pointer("x", "fp32"), "a": Extent("x", 0), "b": Extent("x", 1, 16)},
                {},
            ),
        ),
    )
    info = next(_build(kernel).table.kernels["copy"].launches())
    assert [each.divisible for each in info.arguments[:3]] == [16, 1, 16]
    assert info.arguments[1].kind is ArgumentKind.EXTENT


@triton.jit
def _take(x, a, b):
    tl.store(x + a, tl.load(x + b))
