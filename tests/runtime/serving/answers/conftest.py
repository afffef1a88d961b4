"""What restricts answers, compiled once for a file."""

from collections.abc import Iterator

import pytest

from sala_compile.runtime.serving.structure.structures import Structures
from tests.support.chats import END, TOKENIZER


@pytest.fixture(scope="module")
def structures() -> Iterator[Structures]:
    made = Structures(TOKENIZER, TOKENIZER.vocabulary + 5, {END})
    yield made
    made.close()
