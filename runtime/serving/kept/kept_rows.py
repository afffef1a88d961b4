"""Which rows the files of kept prefixes hold, and of which models they are."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.serving.kept.kept_file import KeptHeader, KeptKind
from sala_compile.runtime.state import stored_rows
from sala_compile.runtime.state.page_groups import Pages
from sala_compile.runtime.state.store import Snapshot
from sala_compile.runtime.state.stored_rows import SLOT, RowPiece, RowValue, StoredRows


class KeptRows:
    """The rows of prefixes, piece by piece. For the thread that owns the engine."""

    def __init__(self, artifact: Artifact, target: str, rows: StoredRows) -> None:
        """For the rows of an artifact's pools on a target."""
        self._rows = rows
        groups = artifact.program.paging.groups
        self._tokens = {name: group.tokens for name, group in groups.items()}
        self.identity = self._identity(artifact, target)

    def page_pieces(self, begin: int, end: int) -> list[RowPiece]:
        """The pages that become full within tokens `begin` to `end`, of all groups."""
        groups = self._tokens.items()
        return [p for g, n in groups for p in self._rows.page_pieces(g, begin // n, end // n)]

    def state_pieces(self, length: int) -> list[RowPiece]:
        """What a snapshot of `length` tokens holds besides full pages, but for logits."""
        pieces = self._rows.slot_pieces()
        for group, tokens in self._tokens.items():
            if length % tokens:
                page = length // tokens
                pieces += self._rows.page_pieces(group, page, page + 1)
        return pieces

    def of_file(self, header: KeptHeader) -> list[RowPiece]:
        """The pieces of a file."""
        if header.kind is KeptKind.STATE:
            return self.state_pieces(header.end)
        return self.page_pieces(header.begin, header.end)

    def read(self, piece: RowPiece, pages: Pages, snapshot: Snapshot) -> np.ndarray:
        """The bytes of a piece, uint8; `pages` are the full ones from the first token on."""
        return self._rows.read(piece, _numbers(piece, pages, snapshot))

    def write(self, piece: RowPiece, data: np.ndarray, pages: Pages, snapshot: Snapshot) -> None:
        """Write the bytes of a piece, uint8."""
        self._rows.write(piece, _numbers(piece, pages, snapshot), data)

    def _identity(self, artifact: Artifact, target: str) -> str:
        """The digest of all that decides the bits of a row, and of how it is stored."""
        rows = self._rows
        shapes: Mapping[str, tuple[RowValue, ...]] = {**rows.paged, SLOT: rows.fixed}
        tuned = artifact.libraries.get(target)
        parts = [
            artifact.manifest.digest,
            target,
            stored_rows.PIECE_BYTES,
            None if tuned is None else tuned.sha256(),
            self._tokens,
            {group: [str(value) for value in values] for group, values in shapes.items()},
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _numbers(piece: RowPiece, pages: Pages, snapshot: Snapshot) -> Sequence[int]:
    """The rows of a piece."""
    if piece.group == SLOT:
        return [snapshot.slot]
    held = pages[piece.group]
    if piece.group in snapshot.partial and piece.first == len(held):
        return [snapshot.partial[piece.group]]
    return held[piece.first : piece.first + piece.count]
