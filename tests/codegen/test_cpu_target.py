"""Targets by name, and libraries whose bytes depend on their content only."""

import ctypes
from pathlib import Path

import pytest

from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets import x86
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.link import find_linker
from sala_compile.codegen.write import cpu_library
from sala_compile.codegen.write.cpu_library import compile_library, compile_object
from sala_compile.runtime.artifact.contract import (
    CONTRACT_SYMBOL,
    Contract,
    read_contract,
    require_contract,
)
from sala_compile.runtime.errors import ArtifactError, CompileError
from tests.codegen.kernels.tir.test_vector import fold_kernel, tail_kernel
from tests.support.shared_objects import SharedObjects


def test_levels_have_their_instructions() -> None:
    v3, v4 = CpuTarget.parse("cpu:x86-64-v3"), CpuTarget.parse("cpu:x86-64-v4")
    assert v3.has_fma
    assert not v3.has_avx512
    assert "avx2" in v3.instructions
    assert v4.has_avx512
    assert not v4.has_avx512_bf16
    assert CpuTarget.parse("cpu:sapphirerapids").has_avx512_bf16
    assert CpuTarget.parse("cpu:znver5").has_fast_bf16_dot
    assert not CpuTarget.parse("cpu:sapphirerapids").has_fast_bf16_dot
    assert not CpuTarget.parse("cpu:x86-64").has_fma


def test_default_is_this_machine() -> None:
    assert CpuTarget.parse("cpu").runs_here
    assert CpuTarget.parse("cpu").name.startswith("cpu:")


@pytest.mark.parametrize("text", ["cpu:pentium9", "gpu", "cpu:i386", "", "cpu:x86-64-v5"])
def test_unknown_targets_are_refused(text: str) -> None:
    with pytest.raises(CompileError, match="unknown"):
        CpuTarget.parse(text)


def test_other_machines_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(CompileError, match="aarch64"):
        CpuTarget.parse("cpu")


def test_host_falls_back_to_what_the_flags_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = x86.required_flags("x86-64-v3")
    monkeypatch.setattr(x86, "host_flags", lambda: flags)
    assert x86.required_flags(x86.host_processor()) <= flags


@pytest.mark.parametrize("compiler", ["no-such-compiler", None])
def test_missing_linker_is_named(monkeypatch: pytest.MonkeyPatch, compiler: str | None) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("CXX", raising=False)
    if compiler:
        monkeypatch.setenv("CXX", compiler)
    with pytest.raises(CompileError, match=r"C\+\+"):
        find_linker()


def test_compiling_twice_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_library, "compile_object", compile_object)
    target = CpuTarget("x86-64-v3")
    first = {"fold": fold_kernel(target), "tail_f32": tail_kernel(Element.F32, target)}
    compile_library(first, target, tmp_path / "a.so")
    again = {"tail_f32": tail_kernel(Element.F32, target), "fold": fold_kernel(target)}
    compile_library(again, target, tmp_path / "b.so")
    assert (tmp_path / "a.so").read_bytes() == (tmp_path / "b.so").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("processor", "feature"), [("diamondrapids", "egpr"), ("bdver4", "xop")])
def test_instructions_that_no_flag_names_are_off(processor: str, feature: str) -> None:
    """A library could otherwise need what its manifest cannot say, and die where it is loaded."""
    assert feature in x86.processor_features(processor)
    assert f"-{feature}" in CpuTarget(processor).llvm().attrs["mattr"]
    assert "-amx-tile" in CpuTarget(processor, amx=False).llvm().attrs["mattr"]


def test_a_contract_is_data_of_the_library(tmp_path: Path) -> None:
    target = CpuTarget("x86-64-v3")
    kernel = {"fold": fold_kernel(target)}
    contract = Contract(program="0" * 64, vocabulary=7, instructions=("avx2",))
    compile_library(kernel, target, tmp_path / "a.so", contract)
    library = ctypes.CDLL(str(tmp_path / "a.so"))
    place = ctypes.addressof(ctypes.c_char.in_dll(library, CONTRACT_SYMBOL))
    assert read_contract(ctypes.string_at(place)) == contract
    require_contract(None, contract, "an older library")
    for change, message in (
        ({"program": "1" * 64}, "program.json is not the program"),
        ({"vocabulary": 8}, "model.vocabulary is not that"),
        ({"instructions": ()}, "instructions of the target"),
        ({"workspaces": "2"}, "workspaces of the tuning"),
    ):
        with pytest.raises(ArtifactError, match=message):
            require_contract(contract, contract.model_copy(update=change), "a.so")


def test_processes_of_a_test_run_share_what_they_compiled(tmp_path: Path) -> None:
    compiled: list[str] = []

    def compiler(symbol: str, function: object, target: CpuTarget) -> bytes:
        compiled.append(symbol)
        if function is None:
            raise OSError("a full disk")
        return b"\x00 an object"

    one, other = (SharedObjects(tmp_path, compiler) for _ in range(2))
    target, wider = CpuTarget("x86-64-v3"), CpuTarget("x86-64-v4")
    fold = fold_kernel(target)
    with pytest.raises(OSError, match="full"):
        one("fold", None, target)
    assert one("fold", fold, target) == b"\x00 an object"
    assert other("fold", fold_kernel(target), target) == b"\x00 an object"
    assert compiled == ["fold"] * 2, "what failed is tried again, what is there is not"
    other("fold", fold, wider)
    other("fold", tail_kernel(Element.F32, target), target)
    assert len(compiled) == 4, "another target, and another kernel of that name"
