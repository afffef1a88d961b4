"""How the items of a kernel are divided among its workers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sala_compile.codegen.kernels.tir.builder import (
    Control,
    Expr,
    KernelBuilder,
    Tensor,
    choose,
    let,
    loop,
    scalar,
    scratch,
)
from sala_compile.codegen.kernels.tir.ir import T
from sala_compile.codegen.kernels.tir.shims import shims


@dataclass(frozen=True, slots=True)
class Team:
    """The workers of a kernel as one of them sees them: its own number, and how many they are.

    `counter` is the number of the next part of a dynamic division; None if one worker does all.
    """

    worker: Expr
    count: Expr
    counter: Tensor | None

    def static(self, extent: Expr, body: Callable[[Expr], None]) -> None:
        """Emit `body(item)` for this worker's equal, contiguous part of 0 .. extent - 1.

        For items of little and equal cost.
        """
        first = let(self.worker * extent // self.count)
        last = let((self.worker + 1) * extent // self.count)
        with loop(last - first) as turn:
            body(let(first + turn))

    def dynamic(self, extent: Expr, body: Callable[[Expr], None]) -> None:
        """Emit `body(item)` for those parts of 0 .. extent - 1 that this worker takes when free.

        Cores differ, and others use them: who is slower takes less (guided self-scheduling,
        Polychronopoulos and Kuck 1987). A round has a part for every worker and hands out half of
        what is left, at last single items. Once in a kernel.
        """
        if self.counter is None:
            with loop(extent) as item:
                body(let(item))
            return
        first, size, passed, start = (scalar(T.int32(0), "int32") for _ in range(4))

        def next_part() -> None:
            """The number of a part says its round and the place in it."""
            part = scalar(T.call_extern("int32", "sala_take", self._cell()), "int32")
            with T.While(T.And(part[0] >= passed[0], first[0] < extent)):
                first[0] = first[0] + size[0] * self.count
                size[0] = T.max((extent - first[0]) // (2 * self.count), 1)
                passed[0] = passed[0] + self.count
            start[0] = first[0] + (part[0] - passed[0] + self.count) * size[0]

        next_part()
        with T.While(start[0] < extent):
            with loop(T.min(size[0], extent - start[0])) as turn:
                body(let(start[0] + turn))
            next_part()

    def _cell(self) -> Expr:
        assert self.counter is not None
        return self.counter.address(0)


def workers(
    builder: KernelBuilder,
    control: Control,
    body: Callable[[Team], None],
    *,
    alone: Expr | None = None,
) -> None:
    """Emit `body(team)` for every worker, in parallel.

    Where the condition `alone` holds, one call does all the work without waking the other
    threads: for steps too small to share.
    """

    def parallel() -> None:
        counter = scratch((1,), "int32")
        counter[0] = T.int32(0)
        with T.parallel(control.workers) as worker, _imports(builder):
            body(Team(worker, control.workers, counter))

    def serial() -> None:
        with _imports(builder):
            body(Team(T.int32(0), T.int32(1), None))

    if alone is None:
        parallel()
    else:
        choose(alone, serial, parallel)


@contextmanager
def _imports(builder: KernelBuilder) -> Iterator[None]:
    with T.attr(0, "pragma_import_llvm", shims(builder.target)):
        yield
