"""Text to module and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import StringIO

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.ir import Attribute
from xdsl.parser import Parser
from xdsl.printer import Printer

from sala_compile.sala_ir.dialect import Sala, SalaOp


def make_context() -> Context:
    """An xDSL context that knows the builtin, func and sala dialects."""
    context = Context()
    for dialect in (Builtin, Func, Sala):
        context.load_dialect(dialect)
    return context


def parse_module(text: str, *, name: str = "<module>") -> ModuleOp:
    """Parse and verify a module, in either text form.

    Raises xDSL's `ParseError` or `VerifyException`.
    """
    module = Parser(make_context(), text, name).parse_module()
    for op in module.walk():
        if isinstance(op, SalaOp):
            op.forget_defaults()
    module.verify()
    return module


def print_module(module: ModuleOp, header: Mapping[str, Attribute] | None = None) -> str:
    """The text form of a module, ending in a newline; with attributes more if `header` has some."""
    with marked(module, header or {}):
        stream = StringIO()
        Printer(stream).print_op(module)
    return stream.getvalue() + "\n"


@contextmanager
def marked(module: ModuleOp, header: Mapping[str, Attribute]) -> Iterator[None]:
    """The module has attributes more meanwhile."""
    before = dict(module.attributes)
    module.attributes |= header
    try:
        yield
    finally:
        module.attributes = before
