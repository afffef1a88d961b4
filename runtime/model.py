"""A loaded model: logits, generation, and what it holds."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.artifact import Artifact
from runtime.device import Advance, Device
from runtime.engine import Engine, Wrap
from runtime.errors import RequestError
from runtime.generation import Generation, GenerationOptions, Progress
from runtime.observe import Observed
from runtime.pages import PagePool
from runtime.plan import MemoryPlan
from runtime.prefix_cache import PrefixOptions
from runtime.sampling import SamplingOptions
from runtime.sequence import Sequence as TokenSequence
from runtime.text.files import TokenizerFiles
from runtime.tokenizer import Tokenizer

TokenIds = Sequence[int] | np.ndarray


class Model:
    """A model ready to run. `runtime.load` makes it; use it in a `with` block or close it."""

    def __init__(
        self,
        artifact: Artifact,
        plan: MemoryPlan,
        device: Device,
        *,
        poison: bool = False,
        prefix: PrefixOptions | None = None,
        advance: Advance | None = None,
    ) -> None:
        """Open the kernels, take the memory of the plan and bind the one to the other.

        `advance` is told how weights come to the device, where they have to.
        """
        self.artifact = artifact
        self._device = device
        with ExitStack() as undo:
            undo.callback(device.close)
            device.open()
            self._memory = device.memory(plan, poison=poison, advance=advance)
            undo.callback(self._memory.close)
            self._engine: Engine | None = Engine(artifact, self._memory, device, prefix)
            undo.pop_all()
        self._tokenizer: Tokenizer | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the artifact; RequestError where it has none."""
        if self._tokenizer is None:
            files = TokenizerFiles.of_artifact(self.artifact)
            self._tokenizer = Tokenizer.of(files, self.artifact.directory.name)
        return self._tokenizer

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return self.artifact.manifest.model.vocabulary

    @property
    def context(self) -> int:
        """Tokens of the longest sequence."""
        return self._memory.plan.sizes.context

    def logits(
        self, token_ids: TokenIds, *, chunk: int | None = None, observe: Sequence[str] = ()
    ) -> Any:
        """Logits of one forward call, float32 [tokens, vocabulary].

        `chunk` is the most new tokens of one step, if that is less than the loaded one. The length
        of the whole call decides the regime of the sparse layers, whatever the chunk.
        With `observe` the result is (logits, {kind: {layer: values}}).
        """
        engine = self._open()
        observer = engine.observer(tuple(observe)) if observe else None
        with engine.new_sequence() as sequence:
            values = engine.calls.all_logits(sequence, token_ids, chunk=chunk, observer=observer)
        return values if observer is None else _observed(values, observer.result())

    def sequence(self) -> TokenSequence:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        return self._open().new_sequence()

    def restore(self, path: str | Path) -> TokenSequence:
        """The sequence that `Sequence.save` wrote to `path`; it continues to the bit.

        StateFileError for a state of another model, a newer version, or a file that is damaged
        or truncated.
        """
        return self._open().restore(Path(path))

    def decode(
        self, sequences: Sequence[TokenSequence], tokens: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Append one token to each sequence, all in one pass over the weights.

        The logits behind them, float32 [batch, vocabulary].
        """
        engine = self._open()
        if len(sequences) != len(tokens):
            raise RequestError(
                f"there are {len(sequences)} sequences and {len(tokens)} tokens",
                expected="one token for each sequence",
            )
        return engine.calls.step(sequences, [[token] for token in tokens])

    def generate(
        self, token_ids: TokenIds | str, max_new_tokens: int = 256, **options: Any
    ) -> list[int]:
        """The ids of the new tokens, the one that ended the answer included.

        Options are those of `stream` but `stop`.
        """
        ids = self._prompt_ids(token_ids)
        asked = generation_options(max_new_tokens, **options)
        if asked.stop:
            raise RequestError(
                "stop strings need text", where="stop", fix="use stream, which watches the text"
            )
        with self.generation(ids, asked) as generation:
            return list(generation.tokens())

    def stream(
        self, prompt: str | TokenIds, max_new_tokens: int = 256, **options: Any
    ) -> Iterator[str]:
        """Pieces of new text as they come, never a part of a character.

        Options: temperature, top_p, top_k, repetition_penalty, seed, stop, ignore_eos.
        """
        tokenizer, ids = self.tokenizer, self._prompt_ids(prompt)
        with self.generation(ids, generation_options(max_new_tokens, **options)) as generation:
            yield from generation.text(tokenizer)

    @contextmanager
    def generation(
        self,
        token_ids: TokenIds,
        options: GenerationOptions,
        *,
        progress: Progress | None = None,
        sequence: TokenSequence | None = None,
        spends: bool = False,
    ) -> Iterator[Generation]:
        """An answer in the making: behind `sequence`, or behind one that is closed at the end.

        A sequence that has logits behind its last token can go on without new tokens. With
        `spends` it is not used afterwards, which lets a GPU work ahead of the host.
        """
        engine = self._open()
        history = [] if sequence is None else sequence.token_ids
        ids = np.zeros(0, np.int32)
        if len(token_ids) or not history:
            ids = engine.limits.checked_tokens(token_ids, len(history))
        chosen = replace(options, eos=options.eos or self.artifact.manifest.model.eos_token_ids)
        with nullcontext(sequence) if sequence is not None else self.sequence() as source:
            yield Generation(
                source,
                ids.tolist(),
                self.vocabulary,
                chosen,
                progress,
                history,
                spends or sequence is None,
            )

    @contextmanager
    def wrapped(self, wrap: Wrap) -> Iterator[None]:
        """Run what `wrap` makes of the program, inside the block: to measure it."""
        with self._open().wrapped(wrap):
            yield

    @property
    def plan(self) -> MemoryPlan:
        """What the memory was planned for."""
        return self._memory.plan

    def info(self) -> dict[str, Any]:
        """What was loaded, for what sizes, and where the memory went (bytes)."""
        engine, manifest, plan = self._open(), self.artifact.manifest, self._memory.plan
        sizes, counters, store = plan.sizes, self._memory.counters, engine.store
        is_random = manifest.seeded is not None
        return {
            "path": str(self.artifact.directory),
            "format": str(manifest.format),
            "model": manifest.model.model_dump(mode="json"),
            "target": self._device.target,
            "device": self._device.describe,
            "dtype": manifest.dtype,
            "attention": manifest.attention,
            "random_weights": is_random,
            "kernels": len({kernel.symbol for kernel in manifest.kernels}),
            "threads": sizes.workers,
            "context": sizes.context,
            "batch": sizes.batch,
            "chunk": sizes.chunk,
            "sequences": _usage(store.slots),
            "snapshots": _usage(store.snapshots),
            "pages": _usage(store.pages.pool),
            "compressed_pages": _usage(store.compressed.pool),
            "prefix_cache": {"enabled": False} if engine.prefix is None else engine.prefix.info(),
            "memory": {
                "total_bytes": sum(counters.values()),
                "planned_bytes": plan.total_bytes,
                "anonymous_bytes": plan.total_bytes if is_random else plan.mapping_bytes,
                "arena_lower_bound_bytes": plan.packing.lower_bound,
                "token_bytes": plan.token_bytes,
                "parts": {part.value: size for part, size in counters.items()},
                "beside_the_plan": self._memory.extras,
            },
        }

    def close(self) -> None:
        """Give all memory back; closing twice does nothing."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
            self._memory.close()
            self._device.close()

    def __enter__(self) -> "Model":
        """The model itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _prompt_ids(self, prompt: str | TokenIds) -> TokenIds:
        """The token ids of a prompt; RequestError for an empty text, which would be one <s>."""
        if isinstance(prompt, str) and not prompt:
            raise RequestError("the prompt is empty", expected="at least one character")
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt

    def _open(self) -> Engine:
        if self._engine is None:
            raise RequestError("the model is closed", fix="load it again")
        return self._engine


def generation_options(
    max_new_tokens: int = 256,
    *,
    stop: Sequence[str] | str = (),
    ignore_eos: bool = False,
    **sampling: Any,
) -> GenerationOptions:
    """The options of `generate` and `stream` as one record; RequestError for unknown ones."""
    try:
        chosen = SamplingOptions(**sampling)
    except TypeError:
        names = ", ".join(SamplingOptions.__slots__)
        raise RequestError(
            f"unknown options among {', '.join(sampling)}",
            expected=f"max_new_tokens, stop, ignore_eos, {names}",
        ) from None
    texts = (stop,) if isinstance(stop, str) else tuple(stop)
    return GenerationOptions(max_new_tokens, chosen, texts, (), ignore_eos)


def _observed(logits: np.ndarray, observed: Observed) -> tuple[np.ndarray, Observed]:
    return logits, observed


def _usage(pool: PagePool) -> dict[str, int]:
    return {"used": pool.used, "total": pool.count}
