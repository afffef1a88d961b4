"""Which rule chose each kernel of a module, and which were refused: for the manifest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xdsl.dialects.builtin import DictionaryAttr, ModuleOp

from sala_compile.passes.support.kernel_choice import KernelChoice, SpecValue
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.dialect import KernelCallOp, attribute_of, plain

KERNELS = "sala.kernels"
"""Attribute of the module: symbol -> family, rule, refusals, spec."""


@dataclass(frozen=True, slots=True)
class ChosenKernel:
    """One kernel to build, and why it was chosen."""

    symbol: str
    family: str
    rule: str
    rejected: tuple[tuple[str, str], ...]
    spec: Mapping[str, SpecValue]


def record_kernel(call: KernelCallOp, choice: KernelChoice) -> None:
    """Note the choice on the module; one symbol must always mean one spec."""
    module = call.get_toplevel_object()
    assert isinstance(module, ModuleOp), "kernel calls are in a module"
    known = module.attributes.get(KERNELS, DictionaryAttr({}))
    assert isinstance(known, DictionaryAttr)
    entry = attribute_of(
        {
            "family": choice.family,
            "rule": choice.rule,
            "rejected": choice.rejected,
            "spec": dict(choice.spec),
        }
    )
    before = known.data.get(choice.symbol)
    if before is not None and plain(before)["spec"] != plain(entry)["spec"]:
        raise CompileError(
            f"two kernels are called {choice.symbol}",
            where=f"family {choice.family}",
            expected="a symbol that names every constant of the kernel",
            fix="make the symbol of its Spec unique",
        )
    if before is None:
        module.attributes[KERNELS] = DictionaryAttr({**known.data, choice.symbol: entry})


def chosen_kernels(module: ModuleOp) -> tuple[ChosenKernel, ...]:
    """The kernels that a module calls, in the order in which they were first chosen."""
    known = module.attributes.get(KERNELS, DictionaryAttr({}))
    assert isinstance(known, DictionaryAttr)
    called = {op.symbol.data for op in module.walk() if isinstance(op, KernelCallOp)}
    return tuple(
        _chosen(symbol, plain(entry)) for symbol, entry in known.data.items() if symbol in called
    )


def _chosen(symbol: str, entry: dict[str, Any]) -> ChosenKernel:
    return ChosenKernel(symbol, entry["family"], entry["rule"], entry["rejected"], entry["spec"])
