"""Weights from mapped files to a GPU, through two buffers that it copies from by itself."""

from collections.abc import Iterator, Mapping

import numpy as np

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.artifact.stored_weights import open_tensors
from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.devices.device import Advance

PIECE_BYTES = 16 << 20
"""Bytes of one buffer: one is filled while the GPU copies from the other."""


def upload(
    driver: Driver,
    stream: int,
    artifact: Artifact,
    places: Mapping[str, int],
    advance: Advance | None,
) -> None:
    """Copy the stored tensors to their addresses; `advance` is called after every piece."""
    total = sum(artifact.weights[name][1].spec.nbytes for name in places)
    done = 0
    size = max(1, min(PIECE_BYTES, total))
    buffers = [driver.allocate_host(size) for _ in range(2)]
    copied = [driver.event() for _ in buffers]
    try:
        for number, (address, piece) in enumerate(_pieces(artifact, places, size)):
            buffer, event = buffers[number % 2], copied[number % 2]
            driver.wait(event)
            buffer[: len(piece)] = piece
            driver.copy_in(address, buffer.ctypes.data, len(piece), stream)
            driver.record(event, stream)
            done += len(piece)
            if advance is not None:
                advance(done, total)
        driver.synchronize(stream)
    finally:
        for event in copied:
            driver.destroy_event(event)
        for buffer in buffers:
            driver.free_host(buffer)


def _pieces(
    artifact: Artifact, places: Mapping[str, int], size: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Addresses and the bytes that belong there, file by file, or made from the seed."""
    path, file = "", None
    for name, address in places.items():
        if file is None or artifact.weights[name][0] != path:
            path = artifact.weights[name][0]
            file = open_tensors(artifact, path)
        data = file.array(name).reshape(-1).view(np.uint8)
        for first in range(0, len(data), size):
            yield address + first, data[first : first + size]
