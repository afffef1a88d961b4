"""The state of a sequence to a state file and back, piece by piece."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sala_compile.runtime.artifact import ElementType, Manifest, Program
from sala_compile.runtime.devices.device import Memory
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.state.attention_paths import PathRule, PathSpans
from sala_compile.runtime.state.state_file import (
    StateHeader,
    StateReader,
    StateSection,
    check_state_output,
    opened,
    refused,
    replacing,
)
from sala_compile.runtime.state.state_layout import (
    PIECE_BYTES,
    StateLayout,
    read_pieces,
    write_pieces,
)
from sala_compile.runtime.state.store import State, StateStore
from sala_compile.runtime.state.text_history import TextHistory

TOKENS_SECTION = "token_ids"
LOGITS_SECTION = "last_logits"
_NAMES = {ElementType.FLOAT32: "float32", ElementType.UINT16: "bfloat16"}


def model_digest(manifest: Manifest) -> str:
    """The digest that two artifacts share if each can restore the states of the other.

    That is the checkpoint, the element types, the attention and how full pages are stored; not the
    target, nor the way in
    which weights are packed. Where the checkpoint is not named, the packed weights take its place.
    """
    model = manifest.model
    weights = [manifest.files[path].sha256 for path in manifest.weight_files]
    identity = [
        model.family,
        model.config_digest,
        model.digest or weights,
        manifest.dtype,
        manifest.attention,
    ]
    if manifest.kv is not None:
        identity.append(manifest.kv.form)
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()


class StateFiles:
    """Saves and restores the states of one loaded model."""

    def __init__(
        self,
        manifest: Manifest,
        program: Program,
        target: str,
        memory: Memory,
        store: StateStore,
    ) -> None:
        """For the pools of `target` in `memory`."""
        self._digest = model_digest(manifest)
        self._kv = "" if manifest.kv is None else manifest.kv.form
        self._rule = PathRule(program.paths)
        self._manifest = manifest
        self._memory = memory
        self._layout = StateLayout(program, target)
        self._store = store

    def save(self, state: State, path: Path) -> None:
        """Write `state` so that `path` is the old file or the new one, even if the process dies.

        StateFileError if it cannot be written, RequestError for an empty sequence.
        """
        if state.length == 0:
            raise RequestError("an empty sequence has no state to save", fix="append tokens first")
        has_logits = state.logits_at == state.length
        header = self._header(state.length, state.spans.ends, has_logits)
        with replacing(path, header) as writer:
            writer.write(_buffers(self._store.token_ids(state)))
            if has_logits:
                writer.write(_buffers(self._last_logits(state)))
            for part in self._layout.parts(state.length):
                pieces = read_pieces(part, self._memory, state)
                writer.write(_bytes(piece) for piece in pieces)

    def check_output(self, path: Path, tokens: int) -> None:
        """StateFileError if the state of a sequence of `tokens` tokens could not be written now."""
        header = (
            self._header(tokens, ((tokens, self._rule.path(tokens)),), True) if tokens else None
        )
        check_state_output(path, 0 if header is None else header.placed().size)

    def restore(self, path: Path, context: int) -> State:
        """The state in the file, in a slot of its own.

        StateFileError for a file of another model, a newer version, or one that is cut or
        damaged; RequestError for a sequence longer than `context`; MemoryBudgetError if no slot
        or too few pages are free. Nothing is held after an error.
        """
        with opened(path) as reader:
            self._check(reader, context)
            state = self._store.open()
            try:
                self._fill(reader, state)
            except BaseException:
                self._store.close(state)
                raise
        return state

    def _fill(self, reader: StateReader, state: State) -> None:
        header = reader.header
        self._store.reserve(state, header.tokens)
        tokens = self._read_array(reader, TOKENS_SECTION, np.int32)
        if not ((tokens >= 0) & (tokens < self._manifest.model.vocabulary)).all():
            raise refused(reader.path, "the state file is damaged: it holds ids of no token")
        logits = self._read_array(reader, LOGITS_SECTION, np.float32) if header.has_logits else None
        for part in self._layout.parts(header.tokens):
            section = reader.section(part.name)
            for size, writer in write_pieces(part, self._memory, state):
                writer.write(section.read(size))
            section.close()
        self._store.grow(state, tokens, header.spans[-1][1])
        state.spans = PathSpans(header.spans)
        state.history = TextHistory.unknown()
        if logits is not None:
            self._store.set_logits(state, logits)

    def _read_array(self, reader: StateReader, name: str, dtype: type[np.generic]) -> np.ndarray:
        section = reader.section(name)
        size = next(s.nbytes for s in reader.header.sections if s.name == name)
        array: np.ndarray = np.frombuffer(section.read(size), dtype)
        section.close()
        return array

    def _check(self, reader: StateReader, context: int) -> None:
        header, path = reader.header, reader.path
        if header.kv != self._kv:
            raise refused(
                path,
                f"the state has keys and values of another --kv: {header.kv or 'bf16'}",
                f"{self._kv or 'bf16'}, as the model was compiled",
            )
        if header.model != self._digest:
            raise refused(
                path,
                f"the state belongs to another model ({header.family}, {header.model[:16]}...)",
                f"{self._manifest.model.family}, {self._digest[:16]}..., "
                f"{self._manifest.dtype}, attention {self._manifest.attention}",
            )
        if header.tokens > context:
            raise RequestError(
                f"the state of {header.tokens} tokens does not fit the context",
                where=str(path),
                expected=f"at most {context} tokens",
                fix=f"load with context={header.tokens} or more",
            )
        wanted = self._header(header.tokens, header.spans, header.has_logits).placed()
        if header.blank() != wanted:
            raise refused(path, "the state file is damaged: its sections are not those of a state")
        if not self._rule.allows(PathSpans(header.spans), header.tokens):
            raise refused(
                path,
                "the state file is damaged: its spans are not those of a text that was read here",
                f"ends that ascend to {header.tokens}, on paths that take turns, each taken by "
                f"some call: {', '.join(self._rule.names)}",
            )

    def _header(
        self, tokens: int, spans: tuple[tuple[int, str], ...], has_logits: bool
    ) -> StateHeader:
        model = self._manifest.model
        sections = [_section(TOKENS_SECTION, "int32", (tokens,), 4)]
        if has_logits:
            sections.append(_section(LOGITS_SECTION, "float32", (model.vocabulary,), 4))
        for part in self._layout.parts(tokens):
            dtype = _NAMES.get(part.element, part.element.value)
            sections.append(_section(part.name, dtype, part.shape, part.element.itemsize))
        return StateHeader(
            model=self._digest,
            kv=self._kv,
            family=model.family,
            tokens=tokens,
            spans=spans,
            has_logits=has_logits,
            sections=tuple(sections),
        )

    def _last_logits(self, state: State) -> np.ndarray:
        return self._store.last_logits(state)[: self._manifest.model.vocabulary]


def _section(name: str, dtype: str, shape: tuple[int, ...], itemsize: int) -> StateSection:
    nbytes = int(np.prod(shape, dtype=np.int64)) * itemsize
    return StateSection(name=name, dtype=dtype, shape=shape, offset=0, nbytes=nbytes)


def _bytes(piece: np.ndarray) -> memoryview:
    return np.ascontiguousarray(piece).data.cast("B")


def _buffers(array: np.ndarray) -> Iterator[memoryview]:
    step = PIECE_BYTES // array.itemsize
    for first in range(0, len(array), step):
        yield _bytes(array[first : first + step])
