"""The declaration of arguments: what follows from one, and the tables in the READMEs."""

import pytest

from sala_compile.codegen.kernels.arguments import (
    activation,
    batch,
    call_of,
    given,
    operands_of,
    present,
    result,
    state,
    workspace,
    workspaces_of,
)
from tests.support.argument_tables import BEGIN, readmes, table

DECLARED = (
    *batch("control", "slots", "page_table"),
    activation("x", "bf16", 48),
    given("codes", "i32", 7, operand="weight", part="codes"),
    given("scales", "f16", 7, operand="weight", part="scales"),
    activation("gate", "f32", 16, when=False),
    state("pool", "bf16", "pages", 2, operand="kv", part="k"),
    result("y", "f32", 16, number=1),
    workspace("sums", "f32", 0, when=False),
    workspace("parts", "i8", 5, per_token=3),
)


def test_a_call_names_operands_by_their_place_among_those_that_are_there():
    assert operands_of(DECLARED) == ("x", "weight", "kv")
    assert call_of(DECLARED) == (
        *("control", "batch:slots", "batch:page_table", "in:0", "in:1.codes", "in:1.scales"),
        *("in:2.k", "out:1", "workspace:0"),
    )
    (space,) = workspaces_of(DECLARED)
    assert (space.name, space.dtype, space.elements_per_token) == ("parts", "int8", 3)


def test_elements_have_a_type_in_the_calling_convention():
    types = {each.name: (each.dtype, each.bytes) for each in present(DECLARED)}
    assert types["x"] == ("uint16", 2)
    assert types["scales"] == ("uint16", 2)
    assert types["parts"] == ("int8", 1)
    assert "gate" not in types


@pytest.mark.parametrize(("name", "readme"), list(readmes()), ids=lambda each: str(each)[-30:])
def test_a_readme_has_the_arguments_of_its_kernel(name: str, readme):
    """`python -m tests.support.argument_tables` writes them."""
    _, heading, found = readme.read_text(encoding="utf-8").partition(BEGIN)
    assert heading + found == table(name)
