"""How experts are chosen and what they compute between their two products."""

from __future__ import annotations

from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import SpacedOpaqueSyntaxAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.str_enum import StrEnum

from sala_compile.sala_ir.dialect.parameters import KeywordParameter


class ScoreFunction(StrEnum):
    """What the scores of a router become before experts are chosen."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"


class ExpertActivation(StrEnum):
    """What is between the two products of an expert."""

    SWIGLU = "swiglu"
    """silu(gate) * up."""
    SQUARED_RELU = "squared_relu"
    """max(up, 0)^2, without a gate."""


@irdl_attr_definition
class ScoreFunctionAttr(
    KeywordParameter, EnumAttribute[ScoreFunction], SpacedOpaqueSyntaxAttribute
):
    """`#sala<score_function softmax>`."""

    name = "sala.score_function"


@irdl_attr_definition
class ExpertActivationAttr(
    KeywordParameter, EnumAttribute[ExpertActivation], SpacedOpaqueSyntaxAttribute
):
    """`#sala<expert_activation swiglu>`."""

    name = "sala.expert_activation"
