"""PTX to the code of an architecture, by an assembler of the CUDA toolkit, and what it says.

The assembler in Triton's package is taken, or the one that Triton's usual variables name.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.runtime.artifact.architectures import distrust
from sala_compile.runtime.errors import CompileError


@dataclass(frozen=True, slots=True)
class Assembled:
    """Code of one function: `registers` of a thread, bytes that it spills, warnings as they are."""

    code: bytes
    registers: int
    spill_bytes: int
    warnings: tuple[str, ...]


def assembler_version(target: CudaTarget) -> str:
    """The release of the toolkit that the assembler for a target is from, such as `13.4`.

    CompileError where code of that release cannot be trusted on the target.
    """
    tool = _assembler(target)
    doubt = distrust(target.processor, tool.version)
    if doubt is not None:
        raise CompileError(
            f"the assembler for {target.name} is of CUDA {tool.version}, whose code {doubt.reason}",
            where=tool.path,
            expected=f"an assembler of CUDA {doubt.oldest} or newer",
            fix="unset TRITON_PTXAS_BLACKWELL_PATH, so that the assembler of Triton is taken",
        )
    return tool.version


def assemble(text: str, target: CudaTarget, *, fusion: bool) -> Assembled:
    """The code of PTX with one function; the folder that it is made in leaves no trace.

    `fusion` lets a multiplication and an addition become one instruction. CompileError with the
    end of the assembler's log where it fails.
    """
    options = ["-v", "--regAllocOptLevel=2", f"--gpu-name={_gpu_name(target)}"]
    if not fusion:
        options.append("--fmad=false")
    with tempfile.TemporaryDirectory(prefix="sala-ptx-") as folder:
        Path(folder, "kernel.ptx").write_text(_for_family(text, target))
        command = [_assembler(target).path, *options, "kernel.ptx", "-o", "kernel.cubin"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise CompileError(
                f"the assembler failed with code {done.returncode}",
                where=command[0],
                fix=(done.stdout + done.stderr)[-2000:],
            )
        code = Path(folder, "kernel.cubin").read_bytes()
    return _read_log(code, done.stdout + done.stderr)


_USED = re.compile(r"Used (\d+) registers")
_SPILLED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_ADVICE = re.compile(r"\((C\d+)\) (.*)$", re.MULTILINE)
_WARNING = re.compile(r"\bwarning *: (?!\(C\d+\))(.*)$", re.MULTILINE | re.IGNORECASE)
_PLACE = re.compile(r" in (?:around )?line \d+| in (?:the )?function '[^']*'")
"""What differs where the same is said of another place."""


def _read_log(code: bytes, log: str) -> Assembled:
    used, spilled = _USED.search(log), _SPILLED.search(log)
    assert used is not None, log
    assert spilled is not None, log
    found = [f"{number}: {text}" for number, text in _ADVICE.findall(log)]
    found += _WARNING.findall(log)
    warnings = tuple(dict.fromkeys(_PLACE.sub("", text).strip() for text in found))
    return Assembled(code, int(used[1]), max(int(spilled[1]), int(spilled[2])), warnings)


def _assembler(target: CudaTarget) -> Any:
    from triton.backends.nvidia.compiler import get_ptxas

    return get_ptxas(target.architecture)


FAMILIES = 100
"""From this architecture on code can be for a family, whose newer members run it too."""


def _for_family(text: str, target: CudaTarget) -> str:
    """PTX for the family of an architecture instead of for that one alone.

    The instructions are the same; the assembler refuses what only one member has.
    """
    if target.architecture < FAMILIES:
        return text
    own = f".target {target.processor}"
    assert f"{own}a\n" in text, "Triton wrote PTX for another target"
    return text.replace(f"{own}a\n", f"{own}f\n")


@cache
def _gpu_name(target: CudaTarget) -> str:
    from triton.backends.nvidia.compiler import sm_arch_from_capability

    if target.architecture >= FAMILIES:
        return f"{target.processor}f"
    return sm_arch_from_capability(target.architecture)
