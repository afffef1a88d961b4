"""llama.cpp through llama-cpp-python's low-level calls: repacked weights, flash attention or not.

Flash attention is used where it is the faster of both, which depends on the processor: on an
Emerald Rapids it decodes after 4096 tokens at a third of the speed of the other.

Run by the Python of an environment that has llama-cpp-python; see `benchmarks.whole_model`.
"""

import ctypes
import time
from collections.abc import Callable
from typing import Any

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as api

from benchmarks.models.side import Side, serve

SEED_TOKENS = 512
"""Tokens that are read; longer histories are copies of their keys and values."""
TRIED_STEPS, TRIED_TOKENS = 2, 1024
"""Decoded with and without flash attention, or read, to find the faster."""


class LlamaCppSide(Side):
    """One GGUF file."""

    def __init__(self, options: dict[str, Any]) -> None:
        """Load the file `model` for `threads` threads."""
        self.versions = {"llama-cpp-python": llama_cpp.__version__}
        api.llama_backend_init()
        params = api.llama_model_default_params()
        self._model = api.llama_model_load_from_file(options["model"].encode(), params)
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {options['model']}")
        self._threads = options["threads"]
        self._vocabulary = api.llama_vocab_n_tokens(api.llama_model_get_vocab(self._model))
        self._context: Any = None
        self._states: dict[tuple[int, bool], Any] = {}
        self._flash = True
        self._lengths: list[int] = []

    def prepare(self, batch: int, length: int, room: int) -> None:
        """Hold `batch` sequences of `length` tokens each, with room for `room` more in each."""
        self._flash = True
        if length:
            self._choose(lambda: self._hold(batch, length, room), self.step)
        elif room > TRIED_TOKENS:
            self._choose(lambda: self._hold(batch, 0, room), lambda: self.read(TRIED_TOKENS), 1)
        else:
            self._hold(batch, 0, room)

    def _choose(
        self, hold: Callable[[], None], work: Callable[[], None], times: int = TRIED_STEPS
    ) -> None:
        """Hold what is asked with flash attention or without, whichever does the work faster."""
        seconds: dict[bool, float] = {}
        for self._flash in (True, False):
            hold()
            work()  # what is done once
            began = time.perf_counter()
            for _ in range(times):
                work()
            seconds[self._flash] = time.perf_counter() - began
        self._flash = min(seconds, key=lambda flash: seconds[flash])
        hold()

    def _hold(self, batch: int, length: int, room: int) -> None:
        state = None
        if batch and length:
            state = self._state(length)
        self._open(batch * (-(-(length + room) // 256) * 256), batch, unified=False)
        self._lengths = [length] * batch
        self._tokens = [3 + index for index in range(batch)]
        if state is not None:
            state = _for_streams(state, length, batch)
        for index in range(batch if state is not None else 0):
            found = api.llama_state_seq_set_data(self._context, state, len(state), index)
            assert found == len(state), "llama.cpp refuses the state"

    def step(self) -> None:
        """Decode one token of every sequence; the likeliest is the next."""
        batch = range(len(self._lengths))
        self._decode(self._tokens, self._lengths, list(batch), [True] * len(self._lengths))
        for index in batch:
            self._lengths[index] += 1
            self._tokens[index] = int(self._logits(index).argmax())

    def read(self, tokens: int) -> None:
        """Read a prompt of so many tokens into an empty sequence, to the logits of the last."""
        api.llama_memory_clear(api.llama_get_memory(self._context), False)
        self._lengths = [0]
        self._prompt(tokens)
        self._logits(-1).argmax()

    def _prompt(self, tokens: int) -> None:
        ids = np.random.default_rng(0).integers(3, self._vocabulary, tokens).tolist()
        for start in range(0, tokens, 2048):
            part = ids[start : start + 2048]
            positions = list(range(start, start + len(part)))
            wanted = [index + 1 == tokens for index in positions]
            self._decode(part, positions, [0] * len(part), wanted)
        self._lengths[0] = tokens

    def _logits(self, index: int) -> np.ndarray:
        found = api.llama_get_logits_ith(self._context, index)
        return np.ctypeslib.as_array(found, (self._vocabulary,))

    def _state(self, length: int) -> Any:
        """The state of a sequence of `length` tokens."""
        if (length, self._flash) in self._states:
            return self._states[length, self._flash]
        seed = min(SEED_TOKENS, length)
        self._open(length + 2 * SEED_TOKENS, 2, unified=True)
        self._prompt(seed)
        memory = api.llama_get_memory(self._context)
        held = seed
        while held < length:
            data = self._take(0)
            more = min(held, length - held)
            api.llama_state_seq_set_data(self._context, data, len(data), 1)
            api.llama_memory_seq_rm(memory, 1, more, -1)
            api.llama_memory_seq_add(memory, 1, 0, -1, held)
            api.llama_memory_seq_cp(memory, 1, 0, -1, -1)
            api.llama_memory_seq_rm(memory, 1, -1, -1)
            held += more
        self._decode([3], [length], [0], [True])  # applies the shifts of positions
        api.llama_memory_seq_rm(memory, 0, length, -1)
        state = self._states[length, self._flash] = self._take(0)
        return state

    def _take(self, sequence: int) -> Any:
        size = api.llama_state_seq_get_size(self._context, sequence)
        data = (ctypes.c_uint8 * size)()
        api.llama_state_seq_get_data(self._context, data, size, sequence)
        return data

    def _open(self, tokens: int, sequences: int, *, unified: bool) -> None:
        if self._context is not None:
            api.llama_free(self._context)
        params = api.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = tokens, sequences, unified
        params.n_batch, params.n_ubatch = 2048, 512
        params.n_threads = params.n_threads_batch = self._threads
        params.flash_attn_type = int(self._flash)
        params.offload_kqv, params.no_perf = False, True
        self._context = api.llama_init_from_model(self._model, params)
        if not self._context:
            raise SystemExit(f"llama.cpp has no context of {tokens} tokens")
        self._lengths = [0]

    def _decode(
        self, tokens: list[int], positions: list[int], sequences: list[int], wanted: list[bool]
    ) -> None:
        batch = api.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            batch.token[index], batch.pos[index] = token, positions[index]
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequences[index]
            batch.logits[index] = wanted[index]
        code = api.llama_decode(self._context, batch)
        api.llama_batch_free(batch)
        if code:
            raise SystemExit(f"llama_decode returns {code}")


def _for_streams(state: Any, length: int, streams: int) -> Any:
    """The state of one sequence, taken where all share a stream, for a context of some streams.

    Its header has the number of streams before the cells of each; others than the first are empty.
    """
    words = np.frombuffer(bytes(state[:64]), np.uint32)
    (place,) = [i for i in range(15) if words[i] == 1 and words[i + 1] == length]
    data = bytearray(state)
    data[4 * place : 4 * place + 4] = streams.to_bytes(4, "little")
    data += bytes(4 * (streams - 1))
    return (ctypes.c_uint8 * len(data)).from_buffer(data)


if __name__ == "__main__":
    serve(LlamaCppSide)
