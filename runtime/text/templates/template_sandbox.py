"""The sandbox of chat templates: jinja2's, with limits on everything that a template computes."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import wraps
from typing import Any, cast

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context

from sala_compile.runtime.text.templates.template_growth import (
    FILTERS,
    format_growth,
    method_growth,
    operator_growth,
)
from sala_compile.runtime.text.templates.template_limits import TemplateLimitError, budget

_OPERATORS = frozenset({"+", "-", "*", "/", "//", "**", "%"})
_OF_JINJA = ("_loop_vars", "_block_vars")
"""What compiled templates give besides a call's own arguments."""
_LONGEST_MESSAGE = 500
_LONGEST_DATE = 1000


class TemplateRefusal(Exception):
    """A conversation that the template itself refuses."""


class _Generation(Extension):
    """The block `{% generation %}` that marks an answer for training; it renders as its body."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Any) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Namespace(Namespace):
    """A namespace whose text is not its contents, and that takes no private names."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError(f"a namespace has no attribute {name!r}")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _Generator(CodeGenerator):
    """Code that counts its steps and its text, and that measures what it makes."""

    def blockvisit(self, nodes: Any, frame: Frame) -> None:
        """A body: of a loop, a condition, a macro."""
        self.writeline("environment.step()")
        super().blockvisit(nodes, frame)

    def visit_Output(self, node: nodes.Output, frame: Frame) -> None:
        """Text of the template itself, next to what is computed."""
        size = sum(len(part.data) for part in node.nodes if isinstance(part, nodes.TemplateData))
        self.writeline(f"environment.write({size})", node)
        super().visit_Output(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        """Values written after each other with `~`."""
        kind = "markup_join" if frame.eval_ctx.autoescape else "str_join"
        self.write(f"{kind}((")
        for part in node.nodes:
            self._within("environment.written", part, self.visit, frame)
            self.write(", ")
        self.write("))")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        """A list of values."""
        self._within("environment.made", node, super().visit_List, frame)

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        """A dictionary of values."""
        self._within("environment.made", node, super().visit_Dict, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        """A tuple of values, or names that one is assigned to."""
        if node.ctx == "load":
            self._within("environment.made", node, super().visit_Tuple, frame)
        else:
            super().visit_Tuple(node, frame)

    def _within(self, function: str, node: Any, visit: Callable[..., None], frame: Frame) -> None:
        self.write(f"{function}(")
        visit(node, frame)
        self.write(")")


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """The environment of Hugging Face's templates: filters, functions, nothing of this process."""

    intercepted_binops = _OPERATORS
    code_generator_class = _Generator

    def __init__(self) -> None:
        """Keep the filters and functions that are known to be harmless."""
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[_Generation, loopcontrols],
            optimized=False,
            cache_size=0,
            finalize=_finalized,
        )
        known: dict[str, Callable[..., Any]] = self.filters | {"tojson": _to_json}
        self.filters = {name: _bounded(known[name], name) for name in FILTERS}
        self.tests["divisibleby"] = _is_divisible
        names = cast("dict[str, Any]", self.globals)
        del names["lipsum"]
        names["dict"] = _dictionary
        names["namespace"] = _Namespace
        names["raise_exception"] = _raise_exception
        names["strftime_now"] = _strftime_now

    def step(self) -> None:
        """For the code of templates: a body begins."""
        budget().step()

    def write(self, size: int) -> None:
        """For the code of templates: so many characters of its own are written."""
        limits = budget()
        limits.step()
        limits.take(size)

    def made(self, value: Any) -> Any:
        """For the code of templates: a list or the like was made."""
        return budget().made(value)

    def written(self, value: Any) -> Any:
        """For the code of templates: a value is about to be written."""
        limits = budget()
        limits.step()
        limits.take(limits.size(value))
        return value

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute with an operator, unless that would make too much."""
        limits = budget()
        limits.step()
        operator_growth(limits, operator, left, right)
        return limits.made(super().call_binop(context, operator, left, right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """An attribute, or else an item."""
        budget().step()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item or a slice, or else an attribute."""
        limits = budget()
        limits.step()
        found = super().getitem(obj, argument)
        return limits.made(found) if isinstance(argument, slice) else found

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The method `format` of a text, in the sandbox and within the limits."""
        formatter = super().wrap_str_format(value)
        if formatter is None:
            return None

        @wraps(formatter)
        def bounded(*args: Any, **kwargs: Any) -> str:
            format_growth(budget(), value.__self__, (*args, *kwargs.values()))
            return formatter(*args, **kwargs)

        return bounded

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call a macro, a function or a method, unless that would make too much."""
        limits = budget()
        limits.step()
        args = tuple(map(_whole, args)) if _is_join(obj) else args
        for value in (*args, *kwargs.values()):
            limits.size(value)
        named = {name: value for name, value in kwargs.items() if name not in _OF_JINJA}
        method_growth(limits, obj, args, named)
        with limits.deeper():
            return limits.made(super().call(context, obj, *args, **kwargs))


@pass_context
def _finalized(context: Context, value: Any) -> Any:
    """The text of a value, after its cost was counted."""
    return context.environment.written(value)  # type: ignore[attr-defined]


def _bounded(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A filter that checks what it is about to make, and counts its cost."""
    first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        limits = budget()
        limits.step()
        if name == "join":
            args = (*args[:first], *map(_whole, args[first:]))
        values = args[first:]
        for value in (*values, *kwargs.values()):
            limits.size(value)
        FILTERS[name](limits, *values, **kwargs)
        return limits.made(function(*args, **kwargs))

    return run


def _is_join(method: Any) -> bool:
    return getattr(method, "__name__", "") == "join" and isinstance(
        getattr(method, "__self__", None), str
    )


def _whole(value: Any) -> Any:
    """All of an iterator, whose length decides how much a separator adds."""
    return list(cast("Iterator[Any]", value)) if isinstance(value, Iterator) else value


def _is_divisible(value: Any, number: Any) -> bool:
    if not (isinstance(value, int | float) and isinstance(number, int | float)):
        raise TypeError("only numbers are divisible")
    return value % number == 0


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without the HTML escapes of jinja2's own filter."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _dictionary(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise_exception(message: Any) -> None:
    raise TemplateRefusal(str(message)[:_LONGEST_MESSAGE])


def _strftime_now(pattern: str) -> str:
    if len(pattern) > _LONGEST_DATE:
        raise TemplateLimitError("it makes too long a date")
    return datetime.now().strftime(pattern)
