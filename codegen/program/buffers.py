"""Which buffers the inputs, activations and workspaces of a step are, and how large.

Activations are [rows, pitch], the pitch of floats rounded up to 16 elements. `stored_state` has the
pools.
"""

from collections.abc import Mapping

from xdsl.dialects.builtin import BFloat16Type, IntegerType, TensorType
from xdsl.ir import Attribute

from sala_compile.codegen.layouts.padding import padded
from sala_compile.passes.support.kernel_choice import Workspace
from sala_compile.runtime.artifact import (
    Dim,
    ElementType,
    InputName,
    Polynomial,
    Symbol,
    Value,
    ValueKind,
    columns_of,
    dim_of,
)
from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES

GPU = "gpu"


def element_type(element: Attribute) -> ElementType:
    """The element type that kernels see."""
    if isinstance(element, BFloat16Type):
        return ElementType.UINT16
    return ElementType.INT32 if isinstance(element, IntegerType) else ElementType.FLOAT32


def input_value(name: str, tables: Mapping[str, str]) -> Value:
    """`control`, a field of the batch, or one of the `tables`, which name their page groups."""
    if name in tables:
        shape: tuple[Dim, ...] = (dim_of(Symbol.SLOTS), dim_of(columns_of(tables[name])))
    else:
        shape = INPUT_SHAPES[InputName(name)]
    return Value(kind=ValueKind.INPUT, dtype=ElementType.INT32, shape=shape)


def activation(kind: TensorType, rows: Dim) -> Value:
    """A tensor with one row for each of `rows`."""
    columns = tuple(kind.get_shape()[1:])
    dtype = element_type(kind.element_type)
    if dtype is not ElementType.INT32:
        columns = (*columns[:-1], padded(columns[-1]))
    return Value(kind=ValueKind.ACTIVATION, dtype=dtype, shape=(rows, *columns))


def workspace(scratch: Workspace) -> Value:
    """Scratch memory of one step, one row for each worker."""
    growth = (
        (Symbol.SEQUENCE_PAGES, scratch.elements_per_page),
        (Symbol.TOKENS, scratch.elements_per_token),
        (Symbol.SEQUENCES, scratch.elements_per_sequence),
    )
    terms = tuple((factor, (symbol,)) for symbol, factor in growth if factor)
    constant = ((scratch.elements, ()),) if scratch.elements else ()
    columns: Dim = Polynomial(terms=(*terms, *constant)) if terms else scratch.elements
    shape = (dim_of(Symbol.WORKERS), columns)
    return Value(kind=ValueKind.WORKSPACE, dtype=ElementType(scratch.dtype), shape=shape)
