"""Tile registers are asked for, and a refusal says what to do."""

import ctypes
from types import SimpleNamespace

import pytest

from sala_compile.runtime.artifact import processor
from sala_compile.runtime.errors import ArtifactError


def test_a_refusal_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*numbers: ctypes.c_long) -> int:
        asked.append([number.value for number in numbers])
        ctypes.set_errno(95)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(syscall=refuse))
    with pytest.raises(ArtifactError, match="not supported") as caught:
        processor.permit_tiles()
    assert asked == [[158, 0x1023, 18]]
    assert "+noamx" in str(caught.value)


@pytest.mark.skipif(
    processor.TILES not in processor.processor_flags(), reason="this processor has no tiles"
)
def test_asking_twice_is_fine() -> None:
    processor.permit_tiles()
    processor.permit_tiles()
