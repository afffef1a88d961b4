"""One launch compiled by Triton and assembled: no GPU, no driver, no cache on disk."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sala_compile.codegen.gpu_code.assembler import assemble, assembler_version
from sala_compile.codegen.kernels.triton.kernel import (
    Argument,
    Extent,
    GpuKernel,
    Launch,
    Pointer,
    SlabStart,
)
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.runtime.artifact.occupancy import (
    TENSOR_COLUMNS,
    WARP,
    blocks_beside_registers,
)
from sala_compile.runtime.errors import CompileError

ALIGNED = 16
"""What Triton can know a value to be a multiple of."""


@dataclass(frozen=True, slots=True)
class Cubin:
    """The code of one launch: `registers` of a thread, bytes that it spills to memory, columns of
    tensor memory of a block, and what the assembler warns of."""

    code: bytes
    entry: str
    threads: int
    shared_bytes: int
    registers: int
    spill_bytes: int
    tensor_columns: int = 0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KernelSource:
    """What the code of a launch depends on, but for the architecture.

    `signature` has the type of every parameter of the function, "constexpr" for constants;
    `divisible` names the arguments that are multiples of 16.
    """

    function: Any
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    divisible: tuple[str, ...]
    warps: int
    stages: int
    fusion: bool

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for sources of the same code."""
        constants = ((name, type(value), value) for name, value in sorted(self.constants.items()))
        types = tuple(sorted(self.signature.items()))
        return (
            self.function.fn,
            types,
            tuple(constants),
            self.divisible,
            self.warps,
            self.stages,
            self.fusion,
        )


def source_of(launch: Launch, kernel: GpuKernel, slab: int = 0) -> KernelSource:
    """What to compile for a launch of a kernel, within slabs of `slab` indices."""
    names: list[str] = launch.function.arg_names
    signature = {name: _type_of(launch.arguments.get(name)) for name in names}
    divisible = tuple(
        name
        for name in names
        if name in launch.arguments and multiple_of(launch.arguments[name], kernel, slab) > 1
    )
    return KernelSource(
        launch.function,
        signature,
        dict(launch.constants),
        divisible,
        launch.warps,
        launch.stages,
        launch.fusion,
    )


def multiple_of(argument: Argument, kernel: GpuKernel, slab: int = 0) -> int:
    """16 where the code may rely on an argument being a multiple of 16, else 1."""
    match argument:
        case Pointer():
            known = argument.byte_offset or ALIGNED
        case Extent():
            dim = kernel.parameter(argument.parameter).shape[argument.dim]
            known = dim if isinstance(dim, int) else argument.multiple
        case SlabStart():
            known = slab or 1
    return ALIGNED if known % ALIGNED == 0 else 1


def compile_source(source: KernelSource, target: CudaTarget, where: str) -> Cubin:
    """The code of a source; CompileError naming `where` if it does not fit the architecture."""
    text, facts = _ptx(source, target)
    name, shared, columns = facts["name"], facts["shared"], facts["tmem_size"]
    _require_room(name, shared, "bytes of shared memory", target.shared_bytes, target, where)
    _require_room(name, columns, "columns of tensor memory", TENSOR_COLUMNS, target, where)
    scratch = facts["global_scratch_size"] + facts["profile_scratch_size"]
    assert not scratch, f"{name} wants scratch memory, which no launch gives"
    threads = WARP * facts["num_warps"]
    made = assemble(text, target, fusion=source.fusion)
    if made.spill_bytes:
        # The assembler may spill for more blocks than there is room for.
        blocks = blocks_beside_registers(threads, shared, target.processor)
        again = assemble(_for_blocks(text, blocks), target, fusion=source.fusion)
        made = min(made, again, key=lambda each: each.spill_bytes)
    return Cubin(
        made.code,
        name,
        threads,
        shared,
        made.registers,
        made.spill_bytes,
        columns,
        made.warnings,
    )


def _for_blocks(text: str, blocks: int) -> str:
    """PTX whose function needs no more than so many blocks on a multiprocessor."""
    text, count = re.subn(r"(\.reqntid [\d, ]*\d)", rf"\1 .minnctapersm {blocks}", text)
    assert count == 1, "one function says how many threads it has"
    return text


def _require_room(
    name: str, needed: int, what: str, most: int, target: CudaTarget, where: str
) -> None:
    if needed > most:
        raise CompileError(
            f"{name} needs {needed} {what} in a block",
            where=f"{where} for {target.name}",
            expected=f"at most {most} {what.split()[0]}",
            fix="report this: the kernel's schedule is too large for this architecture",
        )


def _type_of(argument: Argument | None) -> str:
    match argument:
        case None:
            return "constexpr"
        case Pointer():
            return f"*{argument.element}"
        case _:
            return "i32"


def _ptx(source: KernelSource, target: CudaTarget) -> tuple[str, dict[str, Any]]:
    """Triton's stages up to PTX, and what they note about the code."""
    from triton.backends.compiler import GPUTarget
    from triton.backends.nvidia.compiler import ptx_get_version
    from triton.compiler import ASTSource, make_backend
    from triton.compiler.compiler import ir

    attributes = {
        (source.function.arg_names.index(name),): [["tt.divisibility", ALIGNED]]
        for name in source.divisible
    }
    tree = ASTSource(source.function, dict(source.signature), dict(source.constants), attributes)
    gpu = GPUTarget("cuda", target.architecture, WARP)
    backend: Any = make_backend(gpu)
    options = backend.parse_options(
        {
            "num_warps": source.warps,
            "num_stages": source.stages,
            "enable_fp_fusion": source.fusion,
            "ptx_version": ptx_get_version(assembler_version(target)),
        }
    )
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, tree.language)
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    functions, modules = backend.get_codegen_implementation(options), backend.get_module_map()
    module: Any = tree.make_ir(gpu, options, functions, modules, context)
    facts: dict[str, Any] = {"target": gpu, **vars(options)}
    for name in ("ttir", "ttgir", "llir", "ptx"):
        module = stages[name](module, facts)
    return str(module), facts
