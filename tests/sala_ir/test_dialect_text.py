"""The dialect's text form: `tests/filecheck/dialect/*.mlir`, pieces separated by `// -----`.

A piece that begins with `// REFUSE: text` must be refused with that text in the message; any other
must print as it stands, comments aside, from the parsed module and from its generic form.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from xdsl.utils.exceptions import ParseError, VerifyException

from sala_compile.sala_ir.context import parse_module, print_module
from sala_compile.sala_ir.dialect import Sala
from sala_compile.sala_ir.generic_form import print_generic

FOLDER = Path(__file__).parents[1] / "filecheck" / "dialect"
REFUSE = "// REFUSE: "


@dataclass(frozen=True, slots=True)
class Piece:
    """One module of a file, without its comments."""

    name: str
    text: str
    refusal: str | None


def read_pieces() -> list[Piece]:
    """Every piece of every file."""
    pieces = []
    for path in sorted(FOLDER.glob("*.mlir")):
        for index, text in enumerate(path.read_text().split("// -----\n")):
            refusal = next(
                (line.removeprefix(REFUSE) for line in text.splitlines() if REFUSE in line), None
            )
            body = "".join(line + "\n" for line in text.splitlines() if not line.startswith("//"))
            pieces.append(Piece(f"{path.stem}-{index}", body, refusal))
    return pieces


PIECES = read_pieces()
ACCEPTED = [piece for piece in PIECES if piece.refusal is None]
REFUSED = [piece for piece in PIECES if piece.refusal is not None]


def body_of(module_text: str) -> str:
    """The functions of a printed module, as a file of `tests/filecheck` writes them."""
    lines = module_text.splitlines()[1:-1]
    return "".join(line.removeprefix("  ") + "\n" for line in lines).replace(
        "func.return", "return"
    )


@pytest.mark.parametrize("piece", ACCEPTED, ids=lambda piece: piece.name)
def test_text_prints_as_it_stands(piece: Piece) -> None:
    module = parse_module(piece.text)
    assert body_of(print_module(module)) == piece.text


@pytest.mark.parametrize("piece", ACCEPTED, ids=lambda piece: piece.name)
def test_generic_form_is_the_same_module(piece: Piece) -> None:
    module = parse_module(piece.text)
    assert parse_module(print_generic(module)).is_structurally_equivalent(module)


@pytest.mark.parametrize("piece", REFUSED, ids=lambda piece: piece.name)
def test_refused_with_the_reason(piece: Piece) -> None:
    with pytest.raises((ParseError, VerifyException)) as caught:
        parse_module(piece.text)
    assert piece.refusal is not None
    assert piece.refusal in str(caught.value)


def test_every_op_has_a_text() -> None:
    seen = {op.name for piece in ACCEPTED for op in parse_module(piece.text).walk()}
    assert {op.name for op in Sala.operations} <= seen


def test_every_op_has_a_documented_class() -> None:
    for kind in (*Sala.operations, *Sala.attributes):
        assert kind.__doc__, kind.__name__
