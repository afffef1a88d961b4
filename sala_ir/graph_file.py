"""A module from a file that somebody may have edited: errors name the file and the line."""

from __future__ import annotations

import re
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.parser import Parser
from xdsl.utils.exceptions import DiagnosticException, ParseError, VerifyException
from xdsl.utils.lexer import Location

from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.context import make_context
from sala_compile.sala_ir.dialect import SalaOp

LIMIT = 1 << 28
"""Bytes of a graph, at most."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|//.*')
"""A text in quotes, or a comment."""
_UNDEFINED = re.compile(r"used but not defined: \[(%[\w.$-]+)")
_FILE = FileRule(
    what="the graph",
    limit=LIMIT,
    error=CompileError,
    expected="a text file with a module of the sala dialect",
    fix="give a file that --dump-ir wrote, or the model.mlir of an artifact",
)


def read_graph(path: Path) -> ModuleOp:
    """Parse and verify the module of a file, in either text form.

    Raises `CompileError` with file, line and column for what does not parse or verify.
    """
    try:
        text = _FILE.read(path).decode()
    except UnicodeDecodeError as error:
        raise _refusal(path, None, f"byte {error.start} is not UTF-8") from None
    _check_quotes(path, text)
    parser = None
    try:
        parser = _LocatingParser(make_context(), text, str(path))
        module = parser.parse_module()
    except ParseError as error:
        raise _refusal(path, _place(error, text), error.msg) from None
    except (DiagnosticException, ValueError, ArithmeticError, RecursionError) as error:
        place = None if parser is None else parser.location
        raise _refusal(path, place, str(error)) from None
    _verify(path, module, parser)
    return module


def _check_quotes(path: Path, text: str) -> None:
    """Refuse a text that does not end in its line: xDSL's lexer takes for ever to find that out."""
    for number, line in enumerate(text.splitlines(), 1):
        rest = _QUOTED.sub(lambda found: " " * len(found[0]), line)
        column = rest.find('"') + 1
        if column:
            place = Location(str(path), number, column)
            raise _refusal(path, place, "a text in quotes does not end in this line")


class _LocatingParser(Parser):
    """Remembers where every operation begins."""

    def __init__(self, context: Context, text: str, name: str) -> None:
        super().__init__(context, text, name)
        self.starts: dict[Operation, Location] = {}
        self._unfinished: list[Location] = []

    @property
    def location(self) -> Location:
        """Where the operation begins that is being parsed."""
        return (self._unfinished or [self._current_token.span.get_location()])[-1]

    def parse_operation(self) -> Operation:
        """Parse one operation and note its place."""
        self._unfinished.append(self._current_token.span.get_location())
        op = super().parse_operation()
        self.starts[op] = self._unfinished.pop()
        return op


def _place(error: ParseError, text: str) -> Location:
    """Where it is; of a name that nothing defines, where it is first used."""
    undefined = _UNDEFINED.search(error.msg)
    found = None if undefined is None else re.search(rf"{undefined[1]}\b", text)
    if found is None:
        return error.span.get_location()
    before = text[: found.start()]
    line, column = before.count("\n") + 1, found.start() - before.rfind("\n")
    return Location(error.span.get_location().file, line, column)


def _verify(path: Path, module: ModuleOp, parser: _LocatingParser) -> None:
    """Verify operation by operation, so that the one at fault is known; then the module."""
    for op in module.walk():
        if isinstance(op, SalaOp):
            op.forget_defaults()
    op: Operation = module
    try:
        for op in module.walk():
            op.verify(verify_nested_ops=False)
        op = module
        module.verify()
    except (VerifyException, DiagnosticException) as error:
        raise _refusal(path, parser.starts.get(op), _last_words(error), op.name) from None


def _last_words(error: Exception) -> str:
    """The reason alone: xDSL prints the whole operation around it."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip(" ^|-") for line in str(cause).splitlines()]
    return next((line for line in reversed(lines) if line), type(cause).__name__)


def _refusal(
    path: Path, place: Location | None, found: str, operation: str | None = None
) -> CompileError:
    where = shown(path) if place is None else f"{shown(path)}:{place.line}:{place.col}"
    subject = "the graph" if operation is None else operation
    return CompileError(
        f"{subject} is not valid: {found.splitlines()[0] if found else found}",
        where=where,
        expected="a module that the sala dialect accepts",
        fix="correct this line; sala-compile --dump-ir writes graphs to begin with",
    )
