"""What the rest of the compiler has to know of a model besides its graph and its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts of a checkpoint's config, in terms that all families share.

    vocabulary: rows of the embedding and of the logits. layers: entries of the residual stream.
    trained_length: tokens that the model was trained on at most, None if the config does not say.
    begin_token and end_tokens: ids, None and () if there are none. sizes: whole numbers of the
    config by name, for people who inspect an artifact.
    """

    family: str
    vocabulary: int
    layers: int
    trained_length: int | None = None
    begin_token: int | None = None
    end_tokens: tuple[int, ...] = ()
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
