"""Small values on their way from a GPU to the host."""

from contextlib import suppress
from threading import Lock

import numpy as np

from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.errors import DeviceError, RequestError

PLACES = 2
"""Values that can be on their way at a time without waiting."""


class Letter:
    """A value that is being copied into a place that later ones use too."""

    def __init__(self, driver: Driver, arrived: int, place: np.ndarray) -> None:
        self._driver = driver
        self._arrived = arrived
        self._place = place
        self._value: np.ndarray | None = None
        self._lost = False
        self._lock = Lock()

    def take(self) -> np.ndarray:
        """Wait for the value, the first time; its bytes. RequestError if it was lost."""
        with self._lock:
            if self._value is None:
                if self._lost:
                    raise RequestError("the model is closed", fix="load it again")
                self._driver.wait(self._arrived)
                self._value = self._place.copy()
            return self._value

    def settle(self) -> None:
        """Take the value now, or never: its place and its event are released."""
        with suppress(DeviceError):
            self.take()
        self._lost = True


class Mailbox:
    """Places in host memory that the GPU writes by itself, used in turn."""

    def __init__(self, driver: Driver, stream: int, size: int) -> None:
        """Places of `size` bytes."""
        self._driver = driver
        self._stream = stream
        self._places = [driver.allocate_host(size) for _ in range(PLACES)]
        self._arrived = [driver.event() for _ in range(PLACES)]
        self._letters: list[Letter | None] = [None] * PLACES
        self._next = 0

    @property
    def nbytes(self) -> int:
        """Bytes of host memory held."""
        return sum(place.nbytes for place in self._places)

    def post(self, address: int, size: int) -> Letter:
        """Queue a copy of `size` bytes; the value that used the place before is taken first."""
        number, self._next = self._next, (self._next + 1) % PLACES
        place, arrived = self._places[number], self._arrived[number]
        assert size <= len(place), "the value is too large"
        before = self._letters[number]
        if before is not None:
            before.take()
        self._driver.copy_out(place.ctypes.data, address, size, self._stream)
        self._driver.record(arrived, self._stream)
        letter = Letter(self._driver, arrived, place[:size])
        self._letters[number] = letter
        return letter

    def close(self) -> None:
        """Release the places; what is on its way is taken first, for later readers."""
        for letter in self._letters:
            if letter is not None:
                letter.settle()
        for arrived in self._arrived:
            self._driver.destroy_event(arrived)
        for place in self._places:
            self._driver.free_host(place)
