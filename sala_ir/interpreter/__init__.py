"""Runs modules of the dialect on the reference functions."""

from sala_compile.sala_ir.interpreter.numerics import Numerics
from sala_compile.sala_ir.interpreter.op_functions import SalaFunctions
from sala_compile.sala_ir.interpreter.reference_model import (
    OBSERVABLE,
    NewTokens,
    Observed,
    ReferenceModel,
    step_inputs,
)
from sala_compile.sala_ir.interpreter.weight_rows import RowSource, Weights, WeightValue, row_source

__all__ = [
    "OBSERVABLE",
    "NewTokens",
    "Numerics",
    "Observed",
    "ReferenceModel",
    "RowSource",
    "SalaFunctions",
    "WeightValue",
    "Weights",
    "row_source",
    "step_inputs",
]
