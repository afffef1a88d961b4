"""The library of a CPU target: an object of each kernel, compiled on all CPUs, and linked."""

import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from sala_compile.codegen.progress import Advance
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.targets.link import find_linker, link
from sala_compile.runtime.artifact.contract import Contract
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.common.threads import available_cpus

SKIPPED_PASSES = (
    # They do nothing for kernels written as loops, and take most of the time.
    "s_tir.CompactBufferAllocation",
    "s_tir.HoistIfThenElse",
    # It marks the only kernel of a module as what the library runs when it is called by no name.
    "tirx.AnnotateEntryFunc",
)


def compile_functions(functions: Mapping[str, Any], target: CpuTarget) -> Any:
    """Compile PrimFuncs (by symbol) into a TVM executable that this process can call."""
    import tvm

    module = tvm.IRModule(
        {name: functions[name].with_attr("global_symbol", name) for name in sorted(functions)}
    )
    with tvm.transform.PassContext(disabled_pass=list(SKIPPED_PASSES)):
        return tvm.compile(module, target=target.llvm())


def compile_library(
    functions: Mapping[str, Any],
    target: CpuTarget,
    path: Path | str,
    contract: Contract | None = None,
    advance: Advance = lambda count: None,
) -> bytes:
    """Compile PrimFuncs (by symbol) into a library at `path`, with threads and contract; its bytes.

    The bytes depend on the functions, the contract, the target and the compiler versions only.
    `advance` receives each compiled function. A library that is already at `path` is replaced, not
    overwritten, since it may be loaded.
    """
    linker = find_linker()
    path = Path(path)
    library = link(_objects(functions, target, advance), contract, linker)
    write_whole(path.absolute(), library, 0o755)
    return library


def compile_object(symbol: str, function: Any, target: CpuTarget) -> bytes:
    """Compile a PrimFunc to an object file. Threads may call this at the same time."""
    executable = compile_functions({symbol: function}, target)
    found: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="sala-object-") as folder:

        def keep(name: str, objects: list[str], **_: Any) -> None:
            found.extend(Path(each).read_bytes() for each in objects)

        keep.output_format = "so"  # pyright: ignore[reportFunctionMemberAccess]
        output = Path(folder, "kernel.so")
        executable.export_library(str(output), fcompile=keep, workspace_dir=folder)
    (code,) = found
    return code


def _objects(functions: Mapping[str, Any], target: CpuTarget, advance: Advance) -> list[bytes]:
    """Compile every function, in the order of their symbols."""
    target.llvm()  # LLVM sets itself up at its first use, which is no business of several threads
    pool = ThreadPoolExecutor(available_cpus())
    try:
        pending = [
            pool.submit(compile_object, symbol, functions[symbol], target)
            for symbol in sorted(functions)
        ]
        found: list[bytes] = []
        for each in pending:
            found.append(each.result())
            advance(1)
        return found
    finally:
        pool.shutdown(cancel_futures=True)
