"""Text to module and back."""

from __future__ import annotations

from io import StringIO

from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser
from xdsl.printer import Printer

from sala_compile.sala_ir.dialect import Sala


def make_context() -> Context:
    """An xDSL context that knows the builtin, func and sala dialects."""
    context = Context()
    for dialect in (Builtin, Func, Sala):
        context.load_dialect(dialect)
    return context


def parse_module(text: str, *, name: str = "<module>") -> ModuleOp:
    """Parse and verify a module; raises xDSL's `ParseError` or `VerifyException`."""
    module = Parser(make_context(), text, name).parse_module()
    module.verify()
    return module


def print_module(module: ModuleOp) -> str:
    """The text form of a module, ending in a newline."""
    stream = StringIO()
    Printer(stream).print_op(module)
    return stream.getvalue() + "\n"
