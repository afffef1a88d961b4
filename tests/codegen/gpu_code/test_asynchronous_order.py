"""What the tensor cores do beside the threads is waited for, in the code of product schedules.

`codegen/kernels/triton/README.md` has the argument; the rules are its sentences.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.codegen.gpu_code import cubin
from sala_compile.codegen.gpu_code.assembler import assemble
from sala_compile.codegen.kernels.triton.kernel import GpuKernel
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.codegen.write import gpu_library
from tests.codegen.kernels import test_gpu_product_schedules as product
from tests.codegen.kernels.attend_blocks import test_gpu as attend
from tests.codegen.kernels.lightning_attention import test_gpu as lightning
from tests.codegen.kernels.linear import test_gpu as linear
from tests.codegen.kernels.select_blocks import test_gpu as select
from tests.support.machine_code import MachineInstruction, early_uses, machine_code
from tests.support.ptx.order import RULES, Rule, uses, violations
from tests.support.ptx.program import Program

KERNELS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "linear tiles": lambda _: product.test_linears("bf16 tiles"),
    "linear integer rows": lambda _: product.test_linears("int4 swiglu rows"),
    "lightning": partial(product.test_lightning_attention_in_tf32, True),
    "selection": lambda _: product.test_selection(False),
    "attention": lambda _: product.test_attention(False),
}


class _Compiled(Exception):
    """What a kernel was compiled to, instead of a run."""


@cache
def texts(name: str, architecture: int) -> tuple[tuple[str, str], ...]:
    """The functions of a kernel, and their PTX."""
    target = CudaTarget(architecture)
    found: dict[str, str] = {}

    def run(kernel: GpuKernel, buffers: Mapping[str, np.ndarray], *_: Any, **__: Any) -> None:
        for launch in kernel.each_launch():
            source = cubin.source_of(launch, kernel)
            with gpu_library._without_line_numbers():
                text, facts = cubin._ptx(source, target)
            found[facts["name"]] = text
        raise _Compiled

    with pytest.MonkeyPatch.context() as patch:
        for module in (attend, select, lightning, linear):
            patch.setattr(module, "run", run)
        patch.setattr(product, "TARGET", target)
        with pytest.raises(_Compiled):
            KERNELS[name](patch)
    return tuple(found.items())


def _applying(rule: Rule, architecture: int) -> int:
    return sum(
        uses(Program(text), rule) for name in KERNELS for _, text in texts(name, architecture)
    )


@pytest.mark.parametrize("architecture", RULES)
@pytest.mark.parametrize("name", KERNELS)
def test_every_way_through_the_code_keeps_the_order(name: str, architecture: int) -> None:
    for function, text in texts(name, architecture):
        program = Program(text)
        for rule in RULES[architecture]:
            assert not list(violations(program, rule)), (function, rule.why)


@pytest.mark.parametrize("architecture", RULES)
def test_every_rule_applies_to_something(architecture: int) -> None:
    for rule in RULES[architecture]:
        assert _applying(rule, architecture), rule.why


@pytest.mark.parametrize(
    ("architecture", "name", "struck"),
    [
        (90, "linear tiles", "fence.proxy.async.shared::cta;"),
        (90, "linear tiles", "wgmma.fence.sync.aligned;"),
        (90, "linear tiles", "wgmma.commit_group.sync.aligned;"),
        (100, "linear tiles", "fence.proxy.async.shared::cta;"),
        (100, "linear tiles", "bar.sync \t0;"),
        (100, "linear tiles", "tcgen05.wait::st.sync.aligned;"),
        (100, "linear tiles", "tcgen05.wait::ld.sync.aligned;"),
        (100, "linear tiles", "mbarrier.try_wait.parity.shared::cta.b64"),
    ],
)
def test_what_is_struck_out_is_missed(architecture: int, name: str, struck: str) -> None:
    function, text = next(each for each in texts(name, architecture) if struck in each[1])
    program = Program(text.replace(struck, "nop" + " " * struck.count(" ")))
    broken = [rule for rule in RULES[architecture] if list(violations(program, rule))]
    assert broken, (function, struck)


@pytest.mark.parametrize("name", [name for name in KERNELS if "rows" not in name])
def test_machine_code_waits_for_what_it_loads_from_tensor_memory(name: str, tmp_path: Path) -> None:
    """LLVM moves arithmetic before tcgen05.wait::ld; the assembler orders it by a scoreboard."""
    loads = 0
    for function, text in texts(name, 100):
        if "tcgen05.ld" not in text:
            continue
        made = assemble(text, CudaTarget(100), fusion=True)
        (tmp_path / "x.cubin").write_bytes(made.code)
        code = machine_code(tmp_path / "x.cubin")
        loads += sum(each.text.startswith("LDTM") for each in code)
        assert not early_uses(code, "LDTM"), function
    assert loads, "the kernel uses no tensor memory: take it off the list"


def test_a_load_that_is_not_waited_for_is_seen() -> None:
    loads = [MachineInstruction("LDTM.x2 R4, tmem[UR4]", 7, 0)]
    loads.append(MachineInstruction("LDTM.x2 R6, tmem[UR4+0x2]", 2, 0))
    other = MachineInstruction("FMUL R1, R2, R3", 7, 0)
    hasty, patient = (MachineInstruction("FADD R1, R5, R7", 7, waits) for waits in (0, 4))
    assert len(early_uses([*loads, other, hasty], "LDTM")) == 2
    assert not early_uses([*loads, other, patient, hasty], "LDTM")
