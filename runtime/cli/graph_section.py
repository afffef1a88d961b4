"""The captured graph in what sala-inspect prints: as text, for people and for MLIR's tools."""

import re

from rich.text import Text

from sala_compile.runtime.artifact.graph_files import DEFINITION_NAME, GENERIC_NAME, GRAPH_NAME
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.cli.sections import ReportSection
from sala_compile.runtime.errors import RequestError

NAMED = 20
"""The LLVM release in which IRDL began to name operands, results and parameters."""
_NAMES = re.compile(r"(?<=[(,])( ?)\w+: ")


def graph_section(artifact: Artifact, *, generic: bool) -> ReportSection:
    """The captured graph in the dialect's assembly, or in MLIR's generic form."""
    return _section("ir", _text(artifact, GENERIC_NAME if generic else GRAPH_NAME))


def definition_section(artifact: Artifact, release: int = NAMED) -> ReportSection:
    """The dialect's definition, for the tools of an LLVM release."""
    return _section("irdl", definition_for(release, _text(artifact, DEFINITION_NAME)))


def definition_for(release: int, text: str) -> str:
    """A definition in IRDL as the tools of an LLVM release read it."""
    return text if release >= NAMED else _NAMES.sub(r"\1", text)


def _section(name: str, text: str) -> ReportSection:
    return ReportSection(name, text, (Text(text.rstrip("\n"), no_wrap=True, overflow="ignore"),))


def _text(artifact: Artifact, file: str) -> str:
    if not artifact.has(file):
        raise RequestError(
            f"the artifact has no {file}",
            where=str(artifact.directory),
            expected="an artifact that this version of sala-compile wrote",
            fix="compile the checkpoint again",
        )
    return artifact.read_text(file)
