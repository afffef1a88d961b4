"""No branch of the compiled code parts threads before an operation that needs them all."""

import pytest

from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.compiled import GOLDEN
from tests.support.ptx.divergence import divergences, kernels_of, texts_of
from tests.support.ptx.program import Program

FRAME = """
.visible .entry f(.param .u64 f_param_0)
{{
  .reg .pred %p<4>;
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ctaid.x;
  ld.param.u64 %rd1, [f_param_0];
  {body}
  ret;
}}
"""
BODIES = {
    "a part of the threads returns before a barrier": (
        "setp.gt.s32 %p1, %r1, 7; @%p1 bra $END; bar.sync 0; $END: add.s32 %r3, %r3, 1;",
        "bar.sync 0",
    ),
    "threads part by what they loaded": (
        "add.s64 %rd2, %rd1, %r1; ld.global.b32 %r4, [%rd2]; setp.ne.s32 %p1, %r4, 0;"
        "@!%p1 bra $END; shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1; $END: add.s32 %r3, %r3, 1;",
        "shfl.sync.bfly.b32 %r5, %r4, 1, 31, -1",
    ),
    "a loop that some threads leave early": (
        "$LOOP: add.s32 %r3, %r3, %r1; bar.sync 0; setp.lt.s32 %p1, %r3, 99; @%p1 bra $LOOP;",
        "bar.sync 0",
    ),
    "one side has the barrier": (
        "setp.gt.s32 %p1, %r1, 7; @%p1 bra $ELSE; bar.sync 0; bra.uni $END;"
        "$ELSE: add.s32 %r3, %r3, 2; $END: add.s32 %r3, %r3, 1;",
        "bar.sync 0",
    ),
    "the barrier is behind the join": (
        "setp.gt.s32 %p1, %r1, 7; @%p1 bra $END; add.s32 %r3, %r3, 2; $END: bar.sync 0;",
        None,
    ),
    "in a loop that all leave together": (
        "$LOOP: bar.sync 0; setp.gt.s32 %p1, %r1, 7; @%p1 bra $SKIP; add.s32 %r3, %r3, 1;"
        "$SKIP: add.s32 %r6, %r6, 1; setp.lt.s32 %p2, %r6, %r2; @%p2 bra $LOOP;",
        None,
    ),
    "the whole block returns": (
        "setp.gt.s32 %p1, %r2, 7; @%p1 bra $END; bar.sync 0; $END: add.s32 %r3, %r3, 1;",
        None,
    ),
    "by the sum of all threads": (
        "shfl.sync.bfly.b32 %r4, %r1, 1, 31, -1; setp.gt.s32 %p1, %r4, 7;"
        "@%p1 bra $END; bar.sync 0; $END: add.s32 %r3, %r3, 1;",
        None,
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_parts_threads_is_found(name: str) -> None:
    body, operation = BODIES[name]
    lines = body.replace(";", ";\n").replace(": ", ":\n")
    found = divergences(Program(FRAME.format(body=lines)))
    assert [each.operation for each in found] == ([] if operation is None else [operation])


def test_the_code_of_every_function_keeps_its_threads_together() -> None:
    """One launch of each function; `test_kernel_orders.py` looks at newer architectures, and
    `python -m tests.support.ptx.divergence` at every launch."""
    target, seen = CudaTarget(80), set[str]()
    options = CompileOptions(checkpoint=GOLDEN / "sala-tiny-a", output=None, dry_run=True)
    for kernel in kernels_of(options, target):
        names = {launch.function.__name__ for launch in kernel.each_launch()}
        if names <= seen:
            continue
        for name, text in texts_of(kernel, target):
            assert divergences(Program(text)) == [], name
        seen |= names
    assert len(seen) > 15
