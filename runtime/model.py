"""A loaded model: logits, generation, and what it holds."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.common.checks import checked_call, checked_path, checked_texts, refusal
from sala_compile.runtime.devices.device import Advance, Device, Memory
from sala_compile.runtime.engine.append import Progress
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.engine.engine import Engine, Wrap
from sala_compile.runtime.engine.limits import TokenIds
from sala_compile.runtime.engine.logit_check import nan_after
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.generation.answer_options import (
    AnswerOptions,
    generation_options,
    known_sampling,
)
from sala_compile.runtime.generation.generation import (
    Generation,
    GenerationOptions,
    stop_strings,
)
from sala_compile.runtime.generation.generation_config import Defaults, GenerationDefaults
from sala_compile.runtime.generation.model_drafts import ModelDrafts
from sala_compile.runtime.plan import MemoryPlan, length_note
from sala_compile.runtime.sequence import TokenSequence
from sala_compile.runtime.state.pages import PagePool
from sala_compile.runtime.state.prefix_cache import PrefixOptions
from sala_compile.runtime.text.tokenizer import TOKENIZER_FILE, Tokenizer
from sala_compile.runtime.text.tokenizers.room import require_room
from sala_compile.runtime.text.tokenizers.tokenizer_files import TokenizerFiles

__all__ = ["Model", "TokenIds", "generation_options"]


class Model:
    """A model ready to run. `sala_compile.load` makes it; use it in a `with` block or close it."""

    def __init__(
        self,
        artifact: Artifact,
        plan: MemoryPlan,
        device: Device,
        *,
        poison: bool = False,
        prefix: PrefixOptions | None = None,
        advance: Advance | None = None,
        draft: "Model | None" = None,
    ) -> None:
        """Open the kernels, take the memory of the plan and bind them to each other.

        `advance` receives the progress of weights that are copied to the device. `draft` is a
        model of the same tokens that drafts for answers; it is closed with this one.
        """
        self.artifact = artifact
        self._device = device
        with ExitStack() as undo:
            undo.callback(device.close)
            device.open()
            self.notes = self._notes(plan)
            self._memory = device.memory(plan, poison=poison, advance=advance)
            undo.callback(self._memory.close)
            self._engine: Engine | None = Engine(artifact, self._memory, device, prefix)
            undo.pop_all()
        self._tokenizer: Tokenizer | None = None
        self._answers: AnswerOptions | None = None
        self.draft = draft

    def _notes(self, plan: MemoryPlan) -> tuple[str, ...]:
        trained = self.artifact.manifest.model.trained_length
        too_long = length_note(plan.sizes.context, trained)
        return (*([too_long] if too_long else []), *self._device.notes(plan))

    @property
    def engine(self) -> Engine:
        """For schedulers: what runs the steps of all sequences; RequestError if it is closed."""
        if self._engine is None:
            raise RequestError("the model is closed", fix="load it again")
        return self._engine

    @property
    def memory(self) -> Memory:
        """Its buffers."""
        return self._memory

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the artifact; RequestError if it has none."""
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
        of the whole call decides the attention path, at any chunk.
        With `observe` the result is (logits, {kind: {layer: values}}).

        NotANumberError, an ArtifactError that names the token, if a logit is NaN; so do
        `decode`, `generate`, `stream`, and `append` and `last_logits` of sequences. Infinities are
        values.
        """
        engine = self.engine
        kinds = checked_texts("observe", observe)
        observer = engine.observer(kinds) if kinds else None
        with self.sequence() as sequence:
            call = engine.append(
                sequence.state, token_ids, chunk=chunk, every_row=True, reuse=False
            )
            values = engine.finish(call, observer=observer).logits
        return values if observer is None else (values, observer.result())

    def sequence(self) -> TokenSequence:
        """An empty sequence; MemoryBudgetError while as many are alive as were planned."""
        engine = self.engine
        return TokenSequence(engine, engine.states.open())

    def restore(self, path: str | Path) -> TokenSequence:
        """The sequence that `TokenSequence.save` wrote to `path`; it continues to the bit.

        StateFileError for a state of another model, a newer version, or a file that is damaged
        or truncated.
        """
        engine = self.engine
        return TokenSequence(engine, engine.states.restore(checked_path("path", path)))

    def decode(
        self, sequences: Sequence[TokenSequence], tokens: Sequence[int] | np.ndarray
    ) -> np.ndarray:
        """Append one token to each sequence, all in one pass over the weights.

        The logits after them, float32 [batch, vocabulary]. If one of them is NaN,
        NotANumberError names its sequence; all have their token, and the others' logits are their
        `last_logits`.
        """
        engine = self.engine
        sequences, ids = self._checked_batch(sequences, tokens)
        checked = engine.limits.checked_tokens
        chunks = [
            SequenceChunk(each.state, checked([token], len(each)), len(each) + 1, True, (0,))
            for each, token in zip(sequences, ids, strict=True)
        ]
        rows: list[np.ndarray] = []
        for number, result in enumerate(engine.step(chunks, all_or_none=True)):
            assert result.logits is not None, "a chunk without draws has logits"
            if result.error is not None:
                end = len(sequences[number]) - 1
                raise nan_after(result.logits[0], end, f" of sequence {number}")
            rows.append(result.logits)
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def generation_options(
        self,
        max_new_tokens: int | None = None,
        *,
        stop: Sequence[str] | str | None = None,
        ignore_eos: bool = False,
        defaults: str = "generation-config",
        end_tokens: str = "generation-config",
        **sampling: Any,
    ) -> GenerationOptions:
        """The options of an answer, those of `SamplingOptions` among them.

        What is not given is what the checkpoint's generation_config.json requests, by the rules of
        Hugging Face's `generate`; or, with `defaults` "none", what `SamplingOptions` and
        `GenerationOptions` have. `end_tokens` says which tokens end the answer: those of
        "generation-config" (else of config.json, else the tokenizer's), of the "tokenizer" alone,
        or of "both".
        """
        known = known_sampling(sampling)
        given = self._completed()
        return given.complete(max_new_tokens, stop, ignore_eos, defaults, end_tokens, known)

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """What generation_config.json requests, with notes on what of it is not applied."""
        return self._completed().defaults

    def generate(
        self, token_ids: TokenIds | str, max_new_tokens: int | None = None, **options: Any
    ) -> list[int]:
        """The ids of the new tokens, the one that ended the answer included.

        Options are those of `generation_options` but `stop`.
        """
        ids = self._prompt_ids(token_ids)
        wanted = self._requested(max_new_tokens, options)
        if stop_strings(options.get("stop")):
            raise RequestError(
                "stop strings need text", where="stop", fix="use stream, which watches the text"
            )
        with self.generation(ids, wanted) as generation:
            return list(generation.tokens())

    def stream(
        self, prompt: str | TokenIds, max_new_tokens: int | None = None, **options: Any
    ) -> Iterator[str]:
        """Pieces of new text as they come, never a part of a character.

        Options: those of `generation_options`.
        """
        tokenizer, ids = self.tokenizer, self._prompt_ids(prompt)
        with self.generation(ids, self._requested(max_new_tokens, options)) as generation:
            yield from generation.text(tokenizer)

    @contextmanager
    def generation(
        self,
        token_ids: TokenIds,
        options: GenerationOptions,
        *,
        progress: Progress | None = None,
        sequence: TokenSequence | None = None,
        ahead: bool = False,
    ) -> Iterator[Generation]:
        """An answer in progress: after `sequence`, or in a new one that is closed at the end.

        A sequence that has logits after its last token can continue without new tokens. With
        `ahead` a GPU computes the next token while the caller has one: `sequence` may then hold the
        last token of the answer, which it does not otherwise.
        """
        engine = self.engine
        if not isinstance(options, GenerationOptions):
            raise refusal("options", options, "GenerationOptions")
        checked_call("progress", progress)
        if sequence is not None:
            self._own(sequence)
        history = [] if sequence is None else sequence.token_ids
        ids = np.zeros(0, np.int32)
        if not (history and _is_empty(token_ids)):
            ids = engine.limits.checked_tokens(token_ids, len(history))
        chosen = replace(options, eos=options.eos or self.artifact.manifest.model.eos_token_ids)
        drafts = self._drafts(chosen)
        with (
            nullcontext(sequence) if sequence is not None else self.sequence() as source,
            nullcontext() if drafts is None else drafts,
        ):
            yield Generation(
                source,
                ids.tolist(),
                self.vocabulary,
                chosen,
                progress,
                history,
                ahead or sequence is None,
                drafts,
            )

    @contextmanager
    def wrapped(self, wrap: Wrap) -> Iterator[None]:
        """Run the program as `wrap` returns it inside the block, to measure it."""
        with self.engine.wrapped(wrap):
            yield

    @property
    def target(self) -> str:
        """For which of the artifact's targets it is loaded."""
        return self._device.target

    @property
    def plan(self) -> MemoryPlan:
        """What the memory was planned for."""
        return self._memory.plan

    def info(self) -> dict[str, Any]:
        """What was loaded, for what sizes, and where the memory went (bytes)."""
        engine, manifest, plan = self.engine, self.artifact.manifest, self._memory.plan
        with engine.visited():
            counters = self._memory.counters
        sizes, store = plan.sizes, engine.store
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
            "pages": {name: _usage(pool) for name, pool in store.groups.pools()},
            "draft": None if self.draft is None else self.draft.info(),
            "prefix_cache": {"enabled": False} if engine.prefix is None else engine.prefix.info(),
            "memory": {
                "total_bytes": sum(counters.values()),
                "planned_bytes": plan.total_bytes,
                "anonymous_bytes": plan.total_bytes if is_random else plan.mapping_bytes,
                "arena_lower_bound_bytes": plan.packing.lower_bound,
                "token_bytes": plan.token_bytes,
                "parts": {str(part): size for part, size in counters.items()},
                "beside_the_plan": self._memory.extras,
            },
        }

    def close(self) -> None:
        """Give all memory back; closing twice does nothing.

        What sequences held is gone with it: any use of them but their length is a
        RequestError. So it is while another thread is in a call.
        """
        engine = self._engine
        if engine is not None and engine.close():
            self._engine = None
            self._memory.close()
            self._device.close()
            if self.draft is not None:
                self.draft.close()

    def __enter__(self) -> "Model":
        """The model itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    def _drafts(self, options: GenerationOptions) -> ModelDrafts | None:
        """A sequence of the draft model for an answer; None without one."""
        if self.draft is None or not options.speculate:
            return None
        return ModelDrafts(self.draft.sequence())

    def _prompt_ids(self, prompt: str | TokenIds) -> TokenIds:
        """The token ids of a prompt; RequestError for an empty text, which would be one <s>."""
        if isinstance(prompt, str) and not prompt:
            raise RequestError("the prompt is empty", expected="at least one character")
        if cast("object", prompt) is None or isinstance(prompt, bytes):
            raise refusal("prompt", prompt, "a text, or token ids")
        if not isinstance(prompt, str):
            return prompt
        self.require_room(prompt)
        return self.tokenizer.encode(prompt)

    def require_room(self, text: str, length: int = 0) -> None:
        """RequestError if `text` certainly does not fit after a text of `length` tokens.

        A long one is looked at piece by piece, so that the rest of it is never turned into tokens.
        """
        room = self.engine.limits.context - length
        tokenizer = self.tokenizer
        require_room(text, room, lambda piece: len(tokenizer.encode(piece, special=False)))

    def _requested(self, max_new_tokens: int | None, options: dict[str, Any]) -> GenerationOptions:
        """The completed options; notes on the checkpoint's are warnings, the first time."""
        if self._answers is None and options.get("defaults") != Defaults.NONE:
            for note in self.generation_defaults.notes:
                warnings.warn(note, stacklevel=4)
        return self.generation_options(max_new_tokens, **options)

    def _completed(self) -> AnswerOptions:
        if self._answers is None:
            self._answers = AnswerOptions(self.artifact, self._any_tokenizer)
        return self._answers

    def _any_tokenizer(self) -> Tokenizer | None:
        return self.tokenizer if self.artifact.has(TOKENIZER_FILE) else None

    def _checked_batch(
        self, sequences: object, tokens: object
    ) -> tuple[list[TokenSequence], list[int]]:
        """The sequences of this model with a token for each, or RequestError."""
        if not isinstance(sequences, Iterable) or isinstance(sequences, TokenSequence):
            raise refusal("sequences", sequences, "a list of sequences")
        batch = [self._own(sequence) for sequence in cast("Iterable[object]", sequences)]
        if not isinstance(tokens, Iterable):
            raise refusal("tokens", tokens, "a list of token ids, one for each sequence")
        ids = [*cast("Iterable[int]", tokens)]
        if len(batch) != len(ids):
            raise RequestError(
                f"there are {len(batch)} sequences and {len(ids)} tokens",
                expected="one token for each sequence",
            )
        return batch, ids

    def _own(self, sequence: object) -> TokenSequence:
        """The sequence; RequestError for one of another model."""
        if not isinstance(sequence, TokenSequence):
            raise refusal("sequence", sequence, "a sequence that Model.sequence made")
        if sequence.engine is not self._engine:
            raise RequestError(
                "the sequence is of another model",
                where="option sequence",
                expected="a sequence that this model's sequence() or restore() made",
                fix="save it there and restore it here, if both have the same checkpoint",
            )
        return sequence


def _is_empty(token_ids: TokenIds) -> bool:
    """Whether there are no new tokens, in a list or an array of none."""
    return isinstance(token_ids, list | tuple | np.ndarray) and len(token_ids) == 0


def _usage(pool: PagePool) -> dict[str, int]:
    return {"used": pool.used, "total": pool.count}
