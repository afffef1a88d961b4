"""What the routes answer with: one loaded model, and the thread that steps it."""

import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Protocol, TypeVar

import anyio
from anyio import to_thread

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.errors import SalaError
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.generation.generation_config import GenerationDefaults
from sala_compile.runtime.serving.answers.chats import Chats
from sala_compile.runtime.serving.http.api_error import ApiError
from sala_compile.runtime.serving.http.text_room import require_text_fits
from sala_compile.runtime.serving.kept.saved_states import SavedStates
from sala_compile.runtime.serving.structure.structures import Structures
from sala_compile.runtime.serving.work.job import Job
from sala_compile.runtime.serving.work.measures import Measures
from sala_compile.runtime.text.templates.chat import ChatTemplate
from sala_compile.runtime.text.templates.template_files import DEFAULT, TemplateFiles
from sala_compile.runtime.text.tokenizer import Tokenizer

Result = TypeVar("Result")


class JobTaker(Protocol):
    """What takes jobs: the engine's thread."""

    failed: SalaError | None
    measures: Measures

    @property
    def ready(self) -> bool:
        """Whether jobs are taken."""
        ...

    def usage(self) -> Mapping[str, Any]:
        """What the server holds and does, as JSON values."""
        ...

    def submit(self, *jobs: Job) -> None:
        """Let jobs wait for their turn: all of them or, with an error, none."""
        ...

    def after_turns(self, act: Callable[[], None]) -> None:
        """Have a function called after the sinks of each turn, on the engine's thread."""
        ...


class DescribedModel(Protocol):
    """What a server has to know of a model: one that is loaded here, or elsewhere."""

    @property
    def artifact(self) -> Artifact:
        """Its files."""
        ...

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer."""
        ...

    @property
    def context(self) -> int:
        """Tokens of the longest sequence."""
        ...

    @property
    def target(self) -> str:
        """For which of the artifact's targets it is loaded."""
        ...

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        ...

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """What its checkpoint requests."""
        ...

    def generation_options(self) -> GenerationOptions:
        """The options of an answer that gives none of its own."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """A model behind the routes.

    `context` are tokens of the longest sequence, `ends` the ids that end an answer, `created` the
    second of the artifact.
    """

    name: str
    created: int
    context: int
    vocabulary: int
    fingerprint: str
    engine: JobTaker
    tokenizer: Tokenizer
    chats: Chats
    defaults: GenerationDefaults
    ends: frozenset[int]
    template_facts: Mapping[str, str | None] = field(default_factory=dict[str, str | None])
    """The special tokens by name, such as `bos_token`, and the source of `chat_template`."""
    states: SavedStates | None = None
    log_prompts: bool = False
    _threads: anyio.CapacityLimiter = field(
        default_factory=lambda: anyio.CapacityLimiter(_workers())
    )

    @staticmethod
    def of(
        model: DescribedModel,
        engine: JobTaker,
        name: str | None = None,
        *,
        states: SavedStates | None = None,
        log_prompts: bool = False,
    ) -> "ServedModel":
        """For a model with a tokenizer. Takes half a second for 150 000 tokens."""
        artifact, tokenizer = model.artifact, model.tokenizer
        options = model.generation_options()
        ends = frozenset(options.eos or artifact.manifest.model.eos_token_ids)
        template = ChatTemplate.from_files(artifact) if ChatTemplate.exists(artifact) else None
        structures = Structures(tokenizer, model.vocabulary, ends)
        structures.start()
        return ServedModel(
            name=name or artifact.directory.name.removesuffix(".sala"),
            created=int(artifact.directory.stat().st_mtime),
            context=model.context,
            vocabulary=model.vocabulary,
            fingerprint=_fingerprint(model),
            engine=engine,
            tokenizer=tokenizer,
            chats=Chats(
                tokenizer,
                template,
                structures,
                ends,
                lambda text: require_text_fits(tokenizer, model.context, text, "messages"),
            ),
            defaults=model.generation_defaults,
            ends=ends,
            template_facts=_template_facts(artifact, tokenizer),
            states=states,
            log_prompts=log_prompts,
        )

    def require_name(self, name: str | None) -> None:
        """ApiError unless a request means this model."""
        if name is not None and name != self.name:
            message = f"The model {name[:200]!r} does not exist; this server has {self.name!r}."
            raise ApiError(404, message, "model", "model_not_found")

    def close(self) -> None:
        """End what compiles grammars."""
        self.chats.structures.close()

    async def work(self, act: Callable[[], Result]) -> Result:
        """Do what takes a while outside of the event loop, a few at a time."""
        return await to_thread.run_sync(act, limiter=self._threads)


def fresh_id(kind: str) -> str:
    """An id of a response that no other has, such as `chatcmpl-9f...`."""
    return f"{kind}-{secrets.token_hex(12)}"


def _template_facts(artifact: Artifact, tokenizer: Tokenizer) -> dict[str, str | None]:
    sources = TemplateFiles.of(artifact).sources()
    source = sources.get(DEFAULT)
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    tokens = {name: tokenizer.special_tokens.get(name) for name in names}
    return tokens | {"chat_template": None if source is None else source.text}


def _workers() -> int:
    return min(8, len(os.sched_getaffinity(0)) + 1)


def _fingerprint(model: DescribedModel) -> str:
    """Equal for servers that give equal answers: of the weights, the program and the target."""
    manifest = model.artifact.manifest
    known: Any = (manifest.model_dump_json(), model.target)
    return f"fp_{sha256(repr(known).encode()).hexdigest()[:10]}"
