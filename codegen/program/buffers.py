"""Which buffers an SSA value consists of, and how large they are.

Activations are [rows, pitch], the pitch of floats rounded up to 16 elements. Pools follow the
kernel convention: K [pages, kv heads, D/p, Tp, p], V [pages, kv heads, Tp/p, Dp, p], p elements in
32 bits, Tp and Dp rounded up to 16; compressed keys like K, a page covering 64 blocks. On
GPUs K and V are [pages, kv heads, block, D] and compressed keys [pages, kv heads, slots, D].
"""

from dataclasses import dataclass

from xdsl.dialects.builtin import BFloat16Type, IntegerType, TensorType
from xdsl.ir import Attribute

from sala_compile.codegen.layouts.padding import padded, pair_of
from sala_compile.passes.support.kernel_choice import Workspace
from sala_compile.runtime.artifact import (
    Dim,
    ElementType,
    InputName,
    Polynomial,
    Symbol,
    Value,
    ValueKind,
    dim_of,
)
from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES
from sala_compile.runtime.artifact.shapes import COMPRESSED_PAGE_BLOCKS
from sala_compile.sala_ir.dialect.types import (
    CompressedKeysType,
    KvCacheType,
    RecurrentStateType,
    StateType,
)
from sala_compile.sala_ir.reference.cache import COARSE_FACTOR

GPU = "gpu"
GPU_POOLS = "cuda"
"""What stands before the names of pools that only GPUs use."""


def element_type(element: Attribute) -> ElementType:
    """The element type that kernels see."""
    if isinstance(element, BFloat16Type):
        return ElementType.UINT16
    return ElementType.INT32 if isinstance(element, IntegerType) else ElementType.FLOAT32


def input_value(name: str) -> Value:
    """`control` or a field of the batch."""
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


@dataclass(frozen=True, slots=True)
class PoolPart:
    """One tensor of a state: its suffix in names and kernel arguments ("" where it is alone)."""

    suffix: str
    value: Value


def pool_name(name: str, kind: StateType, target_kind: str) -> str:
    """The name of a state, one for each layout that its pools have on targets of a kind."""
    own = target_kind == GPU and not isinstance(kind, RecurrentStateType)
    return f"{GPU_POOLS}/{name}" if own else name


def pool_parts(kind: StateType, target_kind: str = "cpu") -> tuple[PoolPart, ...]:
    """The tensors of a state on targets of a kind."""
    match kind:
        case KvCacheType():
            return _gpu_kv_parts(kind) if target_kind == GPU else _kv_parts(kind)
        case CompressedKeysType():
            return _compressed_parts(kind, target_kind)
        case RecurrentStateType():
            return (PoolPart("", _pool(kind, Symbol.SLOTS, kind.sizes)),)
    raise TypeError(f"{kind} has no buffers")


def _pool(kind: StateType, rows: Symbol, shape: tuple[int, ...]) -> Value:
    dtype = element_type(kind.element_type)
    return Value(kind=ValueKind.POOL, dtype=dtype, shape=(dim_of(rows), *shape))


def _kv_parts(kind: KvCacheType) -> tuple[PoolPart, ...]:
    heads, block, size = kind.sizes
    pair, tokens = pair_of(kind), padded(block)
    keys = (heads, size // pair, tokens, pair)
    values = (heads, tokens // pair, padded(size), pair)
    return (
        PoolPart("k", _pool(kind, Symbol.PAGES, keys)),
        PoolPart("v", _pool(kind, Symbol.PAGES, values)),
    )


def _gpu_kv_parts(kind: KvCacheType) -> tuple[PoolPart, ...]:
    return tuple(PoolPart(name, _pool(kind, Symbol.PAGES, kind.sizes)) for name in ("k", "v"))


def _compressed_parts(kind: CompressedKeysType, target_kind: str) -> tuple[PoolPart, ...]:
    heads, pair, size = kind.kv_heads.data, pair_of(kind), kind.head_dim.data
    fine = COMPRESSED_PAGE_BLOCKS * kind.block_size.data // kind.kernel_stride.data

    def shape(slots: int) -> tuple[int, ...]:
        return (heads, slots, size) if target_kind == GPU else (heads, size // pair, slots, pair)

    return tuple(
        PoolPart(name, _pool(kind, Symbol.COMPRESSED_PAGES, shape(slots)))
        for name, slots in (("fine", fine), ("coarse", fine // COARSE_FACTOR))
    )
