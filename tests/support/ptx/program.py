"""PTX text as a list of instructions: parsed once, executed for every block."""

import re
from dataclasses import dataclass
from functools import cached_property

_STATEMENT = re.compile(r"^(?:@(!?)(%?\w+)\s+)?([\w.:]+)\s*(.*)$", re.DOTALL)
_LABEL = re.compile(r"^([\w$]+):(?!:)\s*(.*)$")
_PARAMETER = re.compile(r"\.param\s[^,)]*?(\w+_param_\d+)")
_INTEGER = re.compile(r"^-?(?:0[xX][0-9a-fA-F]+|\d+)U?$")
_FLOAT = re.compile(r"^0([fFdD])([0-9a-fA-F]+)$")


@dataclass(frozen=True, slots=True)
class Register:
    """A register of every thread: %r1, a predicate %p1, or a special one such as %tid.x."""

    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Constant:
    """An immediate: the bits of an integer or of a float, two's complement where negative."""

    bits: int


@dataclass(frozen=True, slots=True)
class Vector:
    """Operands in braces, lowest first."""

    items: tuple["Operand", ...]


@dataclass(frozen=True, slots=True)
class Address:
    """The sum of operands in brackets, in bytes; `name` for the address of a parameter."""

    terms: tuple["Operand", ...]
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two destinations of a shuffle: a value and a predicate."""

    value: "Operand"
    predicate: "Operand"


@dataclass(frozen=True, slots=True)
class Label:
    """Where a branch goes."""

    name: str


Operand = Register | Constant | Vector | Address | Pair | Label


@dataclass(frozen=True)
class Instruction:
    """One instruction; `text` is its statement, for messages."""

    opcode: str
    operands: tuple[Operand, ...]
    guard: Register | None
    text: str

    @cached_property
    def parts(self) -> tuple[str, ...]:
        """The opcode at its dots: ("ld", "global", "v4", "b32")."""
        return tuple(self.opcode.replace("::", "_").split("."))

    @property
    def head(self) -> str:
        """What kind of instruction it is."""
        return self.parts[0]

    @property
    def kind(self) -> str:
        """The last part, for most instructions the type of their operands."""
        return self.parts[-1]


class Program:
    """The one entry of a PTX text: its parameters, instructions and labels."""

    def __init__(self, text: str) -> None:
        """Parse `text`; the bodies of inline assembly are statements like all others."""
        entry = text[text.index(".entry") :]
        head, body = entry[: entry.index("{")], entry[entry.index("{") :]
        self.parameters = _PARAMETER.findall(head)
        self.instructions: list[Instruction] = []
        self.labels: dict[str, int] = {}
        self._scopes = 0
        for line in body.splitlines():
            self._line(line.split("//")[0].strip())

    def _line(self, line: str) -> None:
        self._scopes += line.startswith("{")
        if found := _LABEL.match(line):
            self.labels[self._scoped(found[1])] = len(self.instructions)
            line = found[2]
        for part in line.split(";"):
            statement = part.strip()
            if statement.startswith("{") and "}" not in statement:
                statement = statement[1:].strip()
            if statement and statement not in "{}" and not statement.startswith("."):
                self.instructions.append(self._instruction(statement))

    def _instruction(self, statement: str) -> Instruction:
        found = _STATEMENT.match(statement)
        assert found is not None, statement
        negated, guard, opcode, rest = found.groups()
        operands = tuple(_operand(each) for each in _separate(rest))
        if opcode.startswith("bra"):
            operands = (Label(self._scoped(rest)),)
        register = None if guard is None else Register(guard, negated == "!")
        return Instruction(opcode, operands, register, statement)

    def _scoped(self, label: str) -> str:
        """The labels of inline assembly are known between its braces only."""
        return label if label.startswith("$") else f"{label} of {self._scopes}"


def _separate(rest: str) -> list[str]:
    """Operands between commas that stand in no brackets."""
    items, depth, item = [], 0, ""
    for character in rest:
        depth += (character in "{[") - (character in "}]")
        if character == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += character
    return [each.strip() for each in [*items, item] if each.strip()]


def _operand(text: str) -> Operand:
    if text[0] in "{[":
        inner = text[1:-1].strip()
        if text[0] == "{":
            return Vector(tuple(_operand(each) for each in _separate(inner)))
        if "_param_" in inner:
            return Address((), inner)
        return Address(tuple(_operand(each) for each in re.split(r"\s*\+\s*", inner)))
    if "|" in text:
        value, predicate = text.split("|")
        return Pair(_operand(value.strip()), _operand(predicate.strip()))
    if text.startswith("$"):
        return Label(text)
    return _constant(text) or Register(text.lstrip("!"), text.startswith("!"))


def _constant(text: str) -> Constant | None:
    if _INTEGER.match(text):
        return Constant(int(text.rstrip("U"), 0))
    if found := _FLOAT.match(text):
        return Constant(int(found[2], 16))
    # The only symbol: dynamic shared memory, which begins at 0.
    return Constant(0) if text == "global_smem" else None
