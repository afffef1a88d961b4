"""Architectures of GPUs that code is made for: which GPUs run it, and whose assembler is right."""

from dataclasses import dataclass

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
"""The architectures that the compiler makes code for, in order."""

Capability = tuple[int, int]
"""Compute capability of a GPU: (9, 0) for an H200."""

_EMBEDDED = ((8, 7), (8, 8))
"""Systems on a chip, which do not run the code of graphics cards."""


@dataclass(frozen=True, slots=True)
class Distrust:
    """Why code of an assembler is refused: what is wrong with it before the release `oldest`."""

    oldest: str
    reason: str


_DISTRUSTED = {
    "sm_90": Distrust("13.3", "may overwrite operands of matrix instructions before they are read"),
    "sm_100": Distrust("13.0", "needs newer drivers than it says"),
    "sm_120": Distrust("13.0", "needs newer drivers than it says"),
}


def runs(code: str, capability: Capability) -> bool:
    """Whether code for `sm_90` and the like runs on a GPU of this compute capability.

    A GPU runs the code of lower minor numbers of its own major number: up to sm_89 as all code
    does, from sm_100 on because it is compiled for the family. Code for sm_90 is for it alone.
    """
    major, minor = divmod(int(code.removeprefix("sm_")), 10)
    if (major, minor) == capability:
        return True
    if major == 9 or capability in _EMBEDDED:
        return False
    return major == capability[0] and minor <= capability[1]


def serving(capability: Capability) -> str | None:
    """The newest architecture whose code a GPU of this compute capability runs, if there is one."""
    return next((code for code in reversed(ARCHITECTURES) if runs(code, capability)), None)


def name_of(capability: Capability) -> str:
    """The architecture of a GPU itself, such as sm_90."""
    return f"sm_{capability[0]}{capability[1]}"


def distrust(architecture: str, toolkit: str) -> Distrust | None:
    """Why code for an architecture by the assembler of a release such as `13.4` is refused."""
    found = _DISTRUSTED.get(architecture)
    return found if found is not None and _numbers(toolkit) < _numbers(found.oldest) else None


def _numbers(release: str) -> tuple[int, ...]:
    return tuple(int(part) for part in release.split("."))
