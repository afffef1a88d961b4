"""Choose how full pages of keys and values are stored."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Attribute
from xdsl.passes import ModulePass

from sala_compile.passes.support.state_types import retype_states
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.attention_sizes import PageRounding
from sala_compile.sala_ir.dialect import (
    CompressedKeysType,
    KvCacheType,
    LatentCacheType,
    SelectedAttentionOp,
    StateType,
)
from sala_compile.sala_ir.dialect.heads import recent_keys_type


class PageStorage(StrEnum):
    """How full pages of keys and values are stored."""

    WIDE = "bf16"
    """As `--dtype` says: bf16, or f32."""
    INT8 = "int8"
    INT4 = "int4"
    K8V4 = "k8v4"

    @property
    def bits(self) -> tuple[int, int] | None:
        """Bits of keys and of values; None if they are not rounded."""
        return _BITS[self]


_BITS = {
    PageStorage.WIDE: None,
    PageStorage.INT8: (8, 8),
    PageStorage.INT4: (4, 4),
    PageStorage.K8V4: (8, 4),
}


@dataclass(frozen=True)
class RoundPages(ModulePass):
    """Give every cache of keys and values full pages that are stored like that.

    It keeps as many tokens unrounded as a page has, or a window of compressed keys. Where that is
    longer and the size of pages is not `chosen`, all pages become as long: that many tokens are
    there unrounded anyway, and longer pages have fewer scales. CompileError for pages or heads that
    words of integers do not fill.
    """

    name: ClassVar[str] = "round-pages"
    storage: PageStorage | str = PageStorage.WIDE
    chosen: bool = False

    def __post_init__(self) -> None:
        """Accept the text form of the option."""
        object.__setattr__(self, "storage", PageStorage(self.storage))

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        """Retype the module in place."""
        bits = PageStorage(self.storage).bits
        if bits is None:
            return
        kinds = {value.type for each in op.walk() for value in each.operands}
        window = max(map(_window, kinds), default=1)
        caches = [kind for kind in kinds if isinstance(kind, KvCacheType)]
        if not caches and any(isinstance(kind, LatentCacheType) for kind in kinds):
            raise CompileError(
                "the model keeps latents in place of keys and values, which are not rounded",
                where="--kv",
                fix="leave --kv bf16",
            )
        if any(isinstance(each, SelectedAttentionOp) for each in op.walk()):
            raise CompileError(
                "attention to a selection of tokens reads pages as they are, never rounded ones",
                where="--kv",
                fix="leave --kv bf16",
            )
        for kind in caches:
            _check(kind)
        if caches and not self.chosen:
            longest = max(_recent(window, kind.page_tokens.data) for kind in caches)
            retype_states(op, lambda kind: kind.with_page(longest))

        def rounded(kind: StateType) -> StateType:
            if not isinstance(kind, KvCacheType):
                return kind
            recent = _recent(window, kind.page_tokens.data)
            return kind.with_rounding(PageRounding(*bits, recent))

        retype_states(op, rounded)


def _recent(window: int, page: int) -> int:
    """Tokens that are kept unrounded: those of a window, in whole pages."""
    return -(-window // page) * page


def _window(kind: Attribute) -> int:
    """Keys of a window that a state compresses."""
    is_compressed = isinstance(kind, CompressedKeysType)
    return recent_keys_type(kind).tokens.data if is_compressed else 1


def _check(kind: KvCacheType) -> None:
    _, tokens, columns = kind.sizes
    for size, what in ((tokens, "tokens in a page"), (columns, "columns in a head")):
        if size % kind.MULTIPLE:
            raise CompileError(
                f"{size} {what} cannot be rounded",
                where="--kv",
                expected=f"a multiple of {kind.MULTIPLE}",
                fix="leave --kv bf16",
            )
