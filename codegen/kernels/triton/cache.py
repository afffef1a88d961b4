"""Parameters that GPU kernels of sparse layers share: fields of the batch, pools, scratch memory.

Pools are k and v [pages, kv heads, block, D] and compressed keys [compressed pages, kv heads,
slots, D]; window j of a level stands in slot j + 1, as on the CPU.
"""

from collections.abc import Iterable

from sala_compile.codegen.kernels.page_rows import CacheShape, CompressedLevel
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.kernels.triton.kernel import Extent, Parameter, Pointer
from sala_compile.runtime.artifact.batch_fields import INPUT_SHAPES
from sala_compile.sala_ir.attention_sizes import Heads

LARGEST_GROUP = 32
"""Query heads of a kv head."""
LARGEST_HEAD = 128
"""Columns of a head; smaller ones are masked up to a power of two."""

COLUMNS = {"page_table": "table_columns", "compressed_table": "compressed_columns"}
"""What kernels call the columns of a page table."""

FIELDS: dict[str, tuple[int | str, ...]] = {
    field.value: tuple(
        dim if isinstance(dim, int) else f"{field.value}_extent_{axis}"
        for axis, dim in enumerate(shape)
    )
    for field, shape in INPUT_SHAPES.items()
} | {table: (f"{table}_rows", columns) for table, columns in COLUMNS.items()}
"""What the runtime writes before a step, int32; an extent that is no number is a capacity."""


def batch_names(*names: str) -> tuple[str, ...]:
    """`control` and fields of the batch as a rule names them among its arguments."""
    return tuple(name if name == "control" else f"batch:{name}" for name in names)


def batch_parameters(*names: str) -> tuple[Parameter, ...]:
    """The parameters of `control` and of fields of the batch."""
    return tuple(Parameter(name, "int32", FIELDS[name]) for name in names)


def batch_arguments(*names: str) -> dict[str, Pointer | Extent]:
    """Pointers to them by their names, and `<table>_columns` for page tables."""
    pointers = {name: Pointer(name, "i32") for name in names}
    columns = {COLUMNS[name]: Extent(name, 1) for name in names if name in COLUMNS}
    return pointers | columns


def pool_parameters(cache: CacheShape) -> tuple[Parameter, Parameter]:
    """The pools of keys and of values."""
    shape = ("pages", cache.kv_heads, cache.block_size, cache.head_dim)
    return (
        Parameter("k_pool", cache.element.dtype, shape),
        Parameter("v_pool", cache.element.dtype, shape),
    )


def level_parameters(
    levels: Iterable[CompressedLevel], kv_heads: int, head_dim: int, element: Element
) -> tuple[Parameter, ...]:
    """The pools of compressed keys, named after their levels."""
    return tuple(
        Parameter(
            level.name,
            element.dtype,
            ("compressed_pages", kv_heads, level.slots, head_dim),
        )
        for level in levels
    )


def refuse_heads(heads: Heads) -> str | None:
    """The reason why a kernel that multiplies tiles of heads refuses them, if there is one."""
    if heads.group > LARGEST_GROUP:
        return f"groups of {heads.group} heads pass {LARGEST_GROUP}"
    if heads.head_dim > LARGEST_HEAD:
        return f"heads of {heads.head_dim} columns pass {LARGEST_HEAD}"
    return None
