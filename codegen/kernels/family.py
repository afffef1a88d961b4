"""A family of kernels: how one is chosen for an operation, and how it is built."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from xdsl.ir import Attribute, Operation

from sala_compile.codegen.kernels.arguments import (
    Arguments,
    call_of,
    operands_of,
    present,
    workspaces_of,
)
from sala_compile.codegen.kernels.choices import Axis
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.passes.support.kernel_choice import KernelChoice, Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFamily(ABC):
    """The kernels of one folder for one kind of target.

    `describe(op, target)` gives the spec of the kernel for an operation, or the reason of a
    refusal; `arguments(spec, schedule)` declares the arguments. `schedule` is the class (or a union
    of classes) of the tiles if there are any to choose: `tiles(spec, target)` gives the default,
    without it that of the class, and `axes(spec, target)` what a search may try. `layouts(spec)`
    has the layout that a weight is read in, by the name of its operand. Tokens that are read give
    the same bits wherever they are cut at absolute multiples of `read_multiple(schedule)`.
    """

    name: str
    spec: type[KernelSpec]
    describe: Callable[[Any, Any], KernelSpec | str]
    arguments: Callable[[Any, Any], Arguments]
    schedule: Any = None
    tiles: Callable[[Any, Any], Any] | None = None
    axes: Callable[[Any, Any], tuple[Axis, ...]] | None = None
    layouts: Callable[[Any], Mapping[str, Attribute]] = lambda spec: {}
    read_multiple: Callable[[Any], int] = lambda schedule: 1

    def rule(self, op: Operation, target: Any) -> KernelChoice | str:
        """The kernel for an operation, or the reason why this family has none."""
        spec = self.describe(op, target)
        return spec if isinstance(spec, str) else self.choice(spec, target, op)

    def choice(self, spec: Any, target: Any, op: Operation | None = None) -> KernelChoice:
        """The call of a kernel; without an operation its operands are left open."""
        schedule = self.default_schedule(spec, target)
        arguments = self.arguments(spec, schedule)
        places: dict[str, int] = {}
        if op is not None:
            operands = list(op.operands)
            places = {n: operands.index(getattr(op, n)) for n in operands_of(arguments)}
        return KernelChoice(
            symbol=spec.symbol,
            family=self.name,
            spec=spec.values,
            operands=tuple(places.values()),
            arguments=call_of(arguments),
            workspaces=workspaces_of(arguments),
            weight_layouts={places[n]: k for n, k in self.layouts(spec).items() if n in places},
        )

    @property
    def schedules(self) -> tuple[type[Any], ...]:
        """The classes of tiles; none if there is nothing to choose."""
        return get_args(self.schedule) or ((self.schedule,) if self.schedule else ())

    def default_schedule(self, spec: Any, target: Any) -> Any:
        """The tiles that are taken if none were tuned; None if there is nothing to choose."""
        if self.tiles is not None:
            return self.tiles(spec, target)
        return None if self.schedule is None else self.schedule()

    def workspaces(self, spec: Any, schedule: Any) -> tuple[Workspace, ...]:
        """The scratch memory of a kernel with these tiles."""
        return workspaces_of(self.arguments(spec, schedule))

    def multiple(self, spec: Any, target: Any, schedule: Any = None) -> int:
        """`read_multiple` of `build(spec, target, schedule)`."""
        return self.read_multiple(self._chosen(spec, target, schedule)[-1])

    def build(self, spec: Any, target: Any, schedule: Any = None) -> Any:
        """The kernel of a spec, or of the values that a module keeps of one.

        `schedule` is one of this family, its default if None.
        """
        return self._build(*self._chosen(spec, target, schedule))

    def parameters(self, spec: Any, target: Any, schedule: Any = None) -> Arguments:
        """The arguments of a call of `build(spec, target, schedule)`."""
        spec, _, schedule = self._chosen(spec, target, schedule)
        return present(self.arguments(spec, schedule))

    def _chosen(self, spec: Any, target: Any, schedule: Any) -> tuple[Any, Any, Any]:
        if isinstance(spec, Mapping):
            spec = self.spec.parse(spec)
        return spec, target, schedule or self.default_schedule(spec, target)

    @abstractmethod
    def _build(self, spec: Any, target: Any, schedule: Any) -> Any:
        """The PrimFunc or the GpuKernel."""
