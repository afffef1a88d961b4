"""What routes have to know of a model, read from its artifact: nothing is loaded."""

from functools import cached_property

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.generation.answer_options import AnswerOptions
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.generation.generation_config import (
    Defaults,
    EndTokens,
    GenerationDefaults,
)
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.runtime.text.tokenizers.tokenizer_files import TokenizerFiles


class ArtifactModel:
    """A model that is loaded elsewhere, as an ingress describes it."""

    def __init__(self, artifact: Artifact, context: int, target: str) -> None:
        """For the artifact; `context` tokens and the `target` are those of who loaded it."""
        self.artifact = artifact
        self.context = context
        self.target = target

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the artifact."""
        return self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        files = TokenizerFiles.of_artifact(self.artifact)
        return Tokenizer.of(files, self.artifact.directory.name)

    @property
    def vocabulary(self) -> int:
        """The number of token ids."""
        return self.artifact.manifest.model.vocabulary

    @property
    def generation_defaults(self) -> GenerationDefaults:
        """What generation_config.json requests, with notes on what of it is not applied."""
        return self._answers.defaults

    def generation_options(self) -> GenerationOptions:
        """The options of an answer that gives none of its own."""
        given = (Defaults.GENERATION_CONFIG, EndTokens.GENERATION_CONFIG)
        return self._answers.complete(None, None, False, *given, {})

    @cached_property
    def _answers(self) -> AnswerOptions:
        return AnswerOptions(self.artifact, lambda: self.tokenizer)
