"""What a library was compiled for, written into it: the program that may call its kernels.

Kernels trust the shapes of their buffers, and the manifest's hashes only say that files are whole.
So a library names the program by its hash. If somebody changes the program and repairs the
hashes, the library is still the old one, and the artifact is refused before a kernel runs.
"""

import hashlib
from collections.abc import Mapping
from typing import cast

from pydantic import Field, PositiveInt

from sala_compile.runtime.artifact.format_model import Frozen, canonical_document
from sala_compile.runtime.artifact.program import Value
from sala_compile.runtime.errors import ArtifactError

CONTRACT_SYMBOL = "sala_contract"
"""In a library for processors: the contract as JSON, ended by a zero byte."""
_PROBLEMS = {
    "program": "program.json is not the program that the library was compiled for",
    "vocabulary": "model.vocabulary is not that of the library",
    "instructions": "the instructions of the target are not those of the library",
    "workspaces": "the workspaces of the tuning are not those of its library",
}


class Contract(Frozen):
    """`program` is the SHA-256 of program.json; `workspaces` that of a tuning's, if it has others.

    `instructions` are those of a processor that the code needs, nothing for a GPU.
    """

    program: str = Field(pattern=r"^[0-9a-f]{64}$")
    vocabulary: PositiveInt
    instructions: tuple[str, ...] = ()
    workspaces: str = ""


def read_contract(text: bytes | None) -> Contract | None:
    """The contract of a library; None for one of an older format, which has none."""
    return None if text is None else Contract.model_validate_json(text, extra="ignore")


def require_contract(found: Contract | None, expected: Contract, where: str) -> None:
    """Raise ArtifactError unless the library was compiled for what is `expected` of it."""
    if found is None:
        return
    for name, problem in _PROBLEMS.items():
        theirs, ours = getattr(found, name), getattr(expected, name)
        if theirs != ours:
            raise ArtifactError(
                f"{problem}: it is {_shown(ours)}",
                where=where,
                expected=f"{_shown(theirs)}, for which the kernels were compiled",
                fix="do not use this artifact; get it again from its source, or compile again",
            )


def workspaces_digest(workspaces: Mapping[str, tuple[Value, ...]]) -> str:
    """The digest of the workspaces of tuned kernels, which are given by symbol."""
    document = {
        symbol: [value.model_dump(mode="json") for value in values]
        for symbol, values in workspaces.items()
    }
    return hashlib.sha256(canonical_document(document)).hexdigest()


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, cast(tuple[object, ...], value))) or "none"
    return str(value)[:16] or "none"
