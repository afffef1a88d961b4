"""All memory of a model on a GPU: one allocation for the plan, one for the weights."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import numpy as np

from sala_compile.runtime.artifact import Artifact, InputName, Symbol, ValueKind, align, evaluate
from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.devices.cuda.inputs import Inputs
from sala_compile.runtime.devices.cuda.mailbox import Mailbox
from sala_compile.runtime.devices.cuda.transfer import DeviceBuffer, Transfer
from sala_compile.runtime.devices.cuda.upload import upload
from sala_compile.runtime.devices.device import POISON, Advance, rows_by_symbol
from sala_compile.runtime.errors import DeviceError
from sala_compile.runtime.plan import TOKEN_IDS, MemoryPart, MemoryPlan, text_shape

_CONTROL, _SLOTS = InputName.CONTROL.value, InputName.SLOTS.value
MAIL_BYTES, ROWS = 8, Symbol.LOGIT_ROWS
"""Bytes for each row of logits that `read_later` takes at most."""


class CudaMemory:
    """The buffers of a plan and the weights of a target on a GPU."""

    def __init__(
        self,
        plan: MemoryPlan,
        artifact: Artifact,
        target: str,
        driver: Driver,
        stream: int,
        *,
        poison: bool,
        advance: Advance | None,
    ) -> None:
        """Take the memory and bring the weights; MemoryBudgetError if the GPU refuses."""
        self.plan = plan
        self.poison = poison
        self.extras: dict[str, int] = {}
        self._driver = driver
        self._stream = stream
        self._pools = rows_by_symbol(plan)
        self._held = {"plan": plan.mapping_bytes, "weights": plan.parts[MemoryPart.WEIGHTS]}
        with ExitStack() as undo:
            self._base = self._allocate(undo, "plan")
            weights = self._allocate(undo, "weights")
            self.buffers: Mapping[str, DeviceBuffer] = {
                **self._planned(),
                **_weight_buffers(artifact, target, weights),
            }
            self._clear()
            self._take_host(undo, artifact)
            places = {n: self.buffers[n].address for n in artifact.weights_of(target)}
            upload(driver, stream, artifact, places, advance)
            self._close = undo.pop_all()

    @property
    def counters(self) -> dict[str, int]:
        """Bytes really held for each part."""
        counted = dict(self.plan.parts)
        counted[MemoryPart.WEIGHTS] = self._held["weights"]
        assert sum(counted.values()) == sum(self._held.values()), "the plan is not what is held"
        return counted

    def host(self, name: str) -> np.ndarray:
        """The host's array of an input, or of the token ids."""
        return self._texts if name == TOKEN_IDS else self._inputs.arrays[name]

    def send_inputs(self) -> None:
        """Queue a copy of the inputs: the batch, and of the tables what changed in its rows."""
        control, slots = (self._inputs.arrays[name] for name in (_CONTROL, _SLOTS))
        self._inputs.send(slots[: int(control[1])].tolist())

    def read(self, name: str, out: np.ndarray) -> None:
        """Copy the leading rows and columns of a value to `out`, when all before is done."""
        buffer = self.buffers[name]
        columns = tuple(slice(extent) for extent in out.shape[1:])
        for first, rows in self._transfer.read(buffer, range(len(out))):
            out[first : first + len(rows)] = rows[(slice(None), *columns)]

    def read_later(self, name: str, count: int) -> Callable[[], np.ndarray]:
        """Queue a copy of the leading rows of a small value; the result waits for them."""
        buffer = self.buffers[name]
        letter = self._mailbox.post(buffer.address, count * buffer.row_bytes)
        return lambda: letter.take().view(buffer.dtype).reshape(count, *buffer.shape[1:])

    def read_rows(self, name: str, rows: Sequence[int]) -> np.ndarray:
        """A copy of some rows of a value, when all before is done."""
        buffer = self.buffers[name]
        found = np.empty((len(rows), *buffer.shape[1:]), buffer.dtype)
        for first, piece in self._transfer.read(buffer, rows):
            found[first : first + len(piece)] = piece
        return found

    def write_rows(self, name: str, rows: Sequence[int], values: np.ndarray) -> None:
        """Overwrite whole rows of a value."""
        self._transfer.write(self.buffers[name], rows, values)

    def keep_row(self, source: str, row: int, target: str, place: int) -> None:
        """Queue a copy of a row of one value to row `place` of another."""
        self._copy(self.buffers[source], row, self.buffers[target], place)

    def copy_row(self, symbol: str, source: int, target: int) -> None:
        """Queue a copy of one page or slot in every pool that `symbol` indexes."""
        for name in self._pools.get(symbol, ()):
            self._copy(self.buffers[name], source, self.buffers[name], target)

    def poison_row(self, symbol: str, row: int) -> None:
        """Make one page or slot NaN in every pool that `symbol` indexes."""
        for name in self._pools.get(symbol, ()):
            buffer = self.buffers[name]
            self._fill(buffer.address + row * buffer.row_bytes, POISON, buffer.row_bytes)

    def poison_arena(self) -> None:
        """Make every activation and workspace NaN, so that a stale read shows."""
        self._fill(self._base, POISON, self.plan.parts[MemoryPart.ARENA])

    def close(self) -> None:
        """Release the memory when what was queued is done; a broken GPU keeps it."""
        try:
            self._driver.synchronize(self._stream)
            self._close.close()
        except DeviceError:
            return

    def _allocate(self, undo: ExitStack, what: str) -> int:
        address = self._driver.allocate(self._held[what])
        undo.callback(self._driver.free, address)
        return address

    def _planned(self) -> dict[str, DeviceBuffer]:
        return {
            name: DeviceBuffer(self._base + place.offset, place.shape, place.value.dtype.numpy)
            for name, place in self.plan.places.items()
        }

    def _clear(self) -> None:
        """Unwritten memory is NaN if that is requested, inputs and everything else are 0."""
        byte = POISON if self.poison else 0
        self._fill(self._base, byte, self.plan.mapping_bytes)
        for place in self.plan.places.values():
            if place.value.kind is ValueKind.INPUT:
                self._fill(self._base + place.offset, 0, place.size)

    def _take_host(self, undo: ExitStack, artifact: Artifact) -> None:
        """The host's arrays, and those that the GPU copies from and to."""
        driver = self._driver
        self._inputs = Inputs(
            driver, self._stream, self.plan, self._base, artifact.program.paging.tables
        )
        undo.callback(self._inputs.close)
        shape = tuple(evaluate(dim, self.plan.symbols) for dim in text_shape(artifact.program))
        self._texts = np.zeros(shape, np.int32)
        rows = (self.buffers[name].row_bytes for pool in self._pools.values() for name in pool)
        self._transfer = Transfer(driver, self._stream, max(rows))
        undo.callback(self._transfer.close)
        self._mailbox = Mailbox(driver, self._stream, MAIL_BYTES * self.plan.symbols[ROWS])
        undo.callback(self._mailbox.close)
        arrays = (self._inputs, self._texts, self._transfer, self._mailbox)
        self.extras["host_bytes"] = sum(each.nbytes for each in arrays)

    def _copy(self, source: DeviceBuffer, row: int, target: DeviceBuffer, place: int) -> None:
        size = target.row_bytes
        begin = source.address + row * source.row_bytes
        self._driver.copy(target.address + place * size, begin, size, self._stream)

    def _fill(self, address: int, byte: int, size: int) -> None:
        if size:
            self._driver.fill(address, byte, size, self._stream)


def _weight_buffers(artifact: Artifact, target: str, base: int) -> dict[str, DeviceBuffer]:
    made: dict[str, DeviceBuffer] = {}
    for name in artifact.weights_of(target):
        value, spec = artifact.program.values[name], artifact.weights[name][1].spec
        made[name] = DeviceBuffer(base, spec.shape, value.dtype.numpy)
        base += align(spec.nbytes)
    return made
