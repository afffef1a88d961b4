"""The pages of a job that others need, on their way to disk and back."""

from concurrent.futures import Executor

from sala_compile.runtime.engine.engine import Engine
from sala_compile.runtime.serving.scheduling.piece_file import PieceFile
from sala_compile.runtime.state.store import State
from sala_compile.runtime.state.stored_rows import RowPiece


class ParkedPages:
    """Pages leave memory from the last one on, piece by piece, as others need them.

    They come back in the other order; the slot of the sequence stays. Meanwhile nothing can be
    done with the state, which is `broken`.
    """

    def __init__(self, engine: Engine, state: State, thread: Executor, folder: str | None) -> None:
        """For all pages of a state; `thread` and `folder` are those of the file."""
        self._store, self._rows, self._state = engine.store, engine.rows, state
        self._thread, self._folder = thread, folder
        self._inside = self._pieces()
        self._outside: list[RowPiece] = []
        self._file: PieceFile | None = None
        self.returning = False
        """Whether there is memory for all pages again."""
        state.broken = True

    def let_go(self, *, shared: bool) -> bool:
        """Give the pages of a piece to others; False if there are none.

        Those that somebody else computes with leave only if they are `shared` out as well: that
        frees nothing. OSError if they cannot be written.
        """
        if self.returning:  # some of them have nothing in them yet
            self.returning = False
            if self._trim():
                return True
        if not self._inside or not (shared or self._frees(self._inside[-1])):
            return False
        piece = self._inside[-1]
        data = self._rows.read(piece, self._numbers(piece))
        if self._file is None:
            self._file = PieceFile(self._thread, self._folder)
        self._file.push(data)
        self._outside.append(self._inside.pop())
        self._trim()
        return True

    def come_back(self, length: int) -> None:
        """Take memory for all pages of `length` tokens; MemoryBudgetError if there is too little.

        The state has at most so many.
        """
        self._store.reserve(self._state, length)
        self.returning = True

    def bring(self) -> bool:
        """Bring the pages of a piece back; whether all are there. OSError or StateFileError."""
        if self._outside:
            assert self._file is not None, "they were written"
            piece = self._outside[-1]
            self._rows.write(piece, self._numbers(piece), self._file.pop())
            self._inside.append(self._outside.pop())
        self._state.broken = bool(self._outside)
        return not self._outside

    def close(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.close()

    def _pieces(self) -> list[RowPiece]:
        """Of all pages, those that begin at later tokens last, and of those the smaller ones.

        So no more pages of a kind stay than those of the smallest kind need.
        """
        tables = self._store.groups.tables
        pages = self._state.pages
        found = [p for group in tables for p in self._rows.page_pieces(group, 0, len(pages[group]))]

        def place(piece: RowPiece) -> tuple[int, int]:
            tokens = tables[piece.group].page_tokens
            return piece.first * tokens, -tokens

        return sorted(found, key=place)

    def _numbers(self, piece: RowPiece) -> list[int]:
        return self._state.pages[piece.group][piece.first : piece.first + piece.count]

    def _frees(self, piece: RowPiece) -> bool:
        """Whether others could have one of the pages of a piece if it left."""
        pool = self._store.groups.tables[piece.group].pool
        return any(pool.is_left_with_caches(page) for page in self._numbers(piece))

    def _trim(self) -> bool:
        """Release the pages of which all pieces are outside; whether there were some."""
        pages, some = self._state.pages, False
        for group, table in self._store.groups.tables.items():
            ends = (p.first + p.count for p in self._inside if p.group == group)
            count, before = max(ends, default=0), len(pages[group])
            table.trim(pages[group], count * table.page_tokens)
            some = some or count < before
        return some
