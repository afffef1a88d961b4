"""A state file of random keys, values and recurrent states: a long context without its prefill."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sala_compile.runtime.artifact import ElementType
from sala_compile.runtime.artifact.reader import open_artifact
from sala_compile.runtime.state.saving import TOKENS_SECTION, model_digest
from sala_compile.runtime.state.state_file import StateHeader, StateSection, replacing
from sala_compile.runtime.state.state_layout import CanonicalPart, StateLayout

PERIOD = 1 << 20
"""Numbers until the random ones repeat; odd, so that pages differ."""


def write_random_state(artifact: Path, path: Path, tokens: int) -> None:
    """Write the state of a text of `tokens` random tokens, its numbers from a normal distribution.

    `Model.restore` of the artifact's model reads it. What the sparse layers choose is random, too.
    """
    opened = open_artifact(artifact)
    parts = StateLayout(opened.program, "cpu").parts(tokens)
    model = opened.manifest.model
    header = StateHeader(
        model=model_digest(opened.manifest),
        family=model.family,
        tokens=tokens,
        spans=((tokens, opened.program.paths[-1].name),),
        has_logits=False,
        sections=(
            StateSection(
                name=TOKENS_SECTION, dtype="int32", shape=(tokens,), offset=0, nbytes=4 * tokens
            ),
            *map(_section, parts),
        ),
    )
    random = np.random.default_rng(tokens)
    numbers = random.standard_normal(PERIOD - 1, dtype=np.float32)
    ids = random.integers(3, model.vocabulary, tokens).astype(np.int32)
    with replacing(path, header) as writer:
        writer.write([ids.data.cast("B")])
        for part in parts:
            writer.write(_pieces(part.nbytes, _stored(numbers, part)))


def _section(part: CanonicalPart) -> StateSection:
    dtype = "bfloat16" if part.element is ElementType.UINT16 else part.element.value
    return StateSection(name=part.name, dtype=dtype, shape=part.shape, offset=0, nbytes=part.nbytes)


def _stored(numbers: np.ndarray, part: CanonicalPart) -> memoryview:
    """The numbers as the part has them; bf16 cut off, not rounded."""
    if part.element is ElementType.UINT16:
        numbers = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    return numbers.data.cast("B")


def _pieces(size: int, period: memoryview) -> Iterator[memoryview]:
    for first in range(0, size, len(period)):
        yield period[: size - first]
