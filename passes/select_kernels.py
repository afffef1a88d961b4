"""Replace every kernel-level operation by the call of a kernel."""

from passes.kernel_choice import (
    KernelChoice,
    NoKernel,
    Rule,
    Selector,
    SpecValue,
    Workspace,
    base_and_start,
    first_fitting,
)

__all__ = [
    "KernelChoice",
    "NoKernel",
    "Rule",
    "Selector",
    "SpecValue",
    "Workspace",
    "base_and_start",
    "first_fitting",
]
