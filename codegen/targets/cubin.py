"""One launch compiled by Triton and assembled: no GPU, no driver, no cache on disk.

Triton makes PTX; the assembler in its package (or the one that `TRITON_PTXAS_PATH` and, from sm_90
on, `TRITON_PTXAS_BLACKWELL_PATH` name) makes the code.
"""

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from codegen.kernels.triton.kernel import Argument, Extent, GpuKernel, Launch, Pointer, SlabStart
from codegen.targets.cuda import CudaTarget
from runtime.errors import CompileError

ALIGNED = 16
"""What Triton can know a value to be a multiple of."""
WARP = 32


@dataclass(frozen=True, slots=True)
class Cubin:
    """The code of one launch: `registers` of a thread, and bytes that it spills to memory."""

    code: bytes
    entry: str
    threads: int
    shared_bytes: int
    registers: int
    spill_bytes: int


@dataclass(frozen=True, slots=True)
class Source:
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


def source_of(launch: Launch, kernel: GpuKernel, slab: int = 0) -> Source:
    """What to compile for a launch of a kernel, within slabs of `slab` indices."""
    names: list[str] = launch.function.arg_names
    signature = {name: _type_of(launch.arguments.get(name)) for name in names}
    divisible = tuple(
        name
        for name in names
        if name in launch.arguments and multiple_of(launch.arguments[name], kernel, slab) > 1
    )
    return Source(
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


def compile_source(source: Source, target: CudaTarget, where: str) -> Cubin:
    """The code of a source; CompileError naming `where` if it does not fit the architecture."""
    text, facts = _ptx(source, target)
    if facts["shared"] > target.shared_bytes:
        raise CompileError(
            f"{facts['name']} needs {facts['shared']} bytes of shared memory in a block",
            where=f"{where} for {target.name}",
            expected=f"at most {target.shared_bytes} bytes",
            fix="report this: the kernel's schedule is too large for this architecture",
        )
    scratch = facts["global_scratch_size"] + facts["profile_scratch_size"]
    assert not scratch, f"{facts['name']} wants scratch memory, which no launch gives"
    code, registers, spilled = _assemble(text, target, fusion=source.fusion)
    threads = WARP * facts["num_warps"]
    return Cubin(code, facts["name"], threads, facts["shared"], registers, spilled)


def assembler_version(target: CudaTarget) -> str:
    """The release of the toolkit that the assembler for a target is from, such as `13.4`."""
    return _assembler(target).version


def _assembler(target: CudaTarget) -> Any:
    from triton.backends.nvidia.compiler import get_ptxas

    return get_ptxas(target.architecture)


def _type_of(argument: Argument | None) -> str:
    match argument:
        case None:
            return "constexpr"
        case Pointer():
            return f"*{argument.element}"
    return "i32"


def _ptx(source: Source, target: CudaTarget) -> tuple[str, dict[str, Any]]:
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


_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")


def _assemble(text: str, target: CudaTarget, *, fusion: bool) -> tuple[bytes, int, int]:
    """The code, the registers of a thread, and bytes of spills; the folder leaves no trace."""
    options = ["-v", "--regAllocOptLevel=2", f"--gpu-name={_gpu_name(target)}"]
    if not fusion:
        options.append("--fmad=false")
    with tempfile.TemporaryDirectory(prefix="sala-ptx-") as folder:
        Path(folder, "kernel.ptx").write_text(text)
        command = [_assembler(target).path, *options, "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(
                f"the assembler failed with code {done.returncode}",
                where=command[0],
                fix=(done.stdout + done.stderr)[-2000:],
            )
        code = Path(folder, "kernel.cubin").read_bytes()
    log = done.stdout + done.stderr
    used, spilled = _USED.search(log), _SPILLED.search(log)
    assert used is not None, log
    assert spilled is not None, log
    return code, int(used[1]), max(int(spilled[1]), int(spilled[2]))


@cache
def _gpu_name(target: CudaTarget) -> str:
    from triton.backends.nvidia.compiler import sm_arch_from_capability

    return sm_arch_from_capability(target.architecture)
