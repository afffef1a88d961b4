"""Which files the entries of a prefix cache become."""

from collections.abc import Sequence

from sala_compile.runtime.serving.kept.kept_file import KeptHeader, KeptKind
from sala_compile.runtime.serving.kept.kept_folder import KeptFolder
from sala_compile.runtime.serving.kept.kept_index import KeptPages
from sala_compile.runtime.serving.kept.kept_rows import KeptRows
from sala_compile.runtime.serving.kept.prefix_writer import PrefixWriting
from sala_compile.runtime.state.prefix_cache import PrefixCache
from sala_compile.runtime.state.prefix_tree import Entry


class EntryFiles:
    """Names files by what decides their contents, and finds those that are there.

    For the thread that owns the engine.
    """

    def __init__(
        self, cache: PrefixCache, folder: KeptFolder, rows: KeptRows, page_tokens: int
    ) -> None:
        """For entries of a cache, in a folder; the smallest pages have `page_tokens` tokens."""
        self._cache = cache
        self._folder = folder
        self._rows = rows
        self._page_tokens = page_tokens

    def state(self, entry: Entry) -> KeptHeader:
        """The header of an entry's state, as far as it follows from the entry."""
        header = self._header(KeptKind.STATE, entry.key, None, entry.length, entry.length)
        history = entry.history
        return header.model_copy(
            update={
                "text": entry.text.hex(),
                "boundary": entry.boundary.hex(),
                "history": history.parts,
                "origin": history.origin.hex(),
            }
        )

    def writing(self, entry: Entry) -> PrefixWriting | None:
        """What has to be written of an entry; None if it is there."""
        state, pages = self.state(entry), None
        if self._folder.state(state) is not None:
            return None
        keys = self._cache.tree.page_keys(entry)
        parent = self._longest_pages(keys)
        begin, end = 0 if parent is None else parent.header.end, len(keys) * self._page_tokens
        if begin < end:
            pages = self._header(KeptKind.PAGES, keys[-1], parent, begin, end)
            pages = pages.holding([piece.nbytes for piece in self._rows.of_file(pages)])
        last = parent.header.stem if pages is None and parent is not None else ""
        state = state.model_copy(
            update={"begin": end, "parent": last if pages is None else pages.stem}
        )
        state = state.holding([piece.nbytes for piece in self._rows.of_file(state)])
        return PrefixWriting(pages, state, parent)

    def _longest_pages(self, keys: Sequence[bytes]) -> KeptPages | None:
        """The longest file of pages of a prefix; needed from now on."""
        for key in reversed(keys):
            pages = self._folder.pages(self._header(KeptKind.PAGES, key, None, 0, 1))
            if pages is not None:
                return pages
        return None

    def _header(
        self, kind: KeptKind, key: bytes, parent: KeptPages | None, begin: int, end: int
    ) -> KeptHeader:
        return KeptHeader(
            kind=kind,
            identity=self._rows.identity,
            key=key.hex(),
            parent="" if parent is None else parent.header.stem,
            begin=begin,
            end=end,
        )
