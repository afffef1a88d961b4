"""A GPU with the kernels of one artifact."""

from sala_compile.runtime.artifact import Artifact
from sala_compile.runtime.artifact.architectures import name_of
from sala_compile.runtime.devices.cuda.driver import Driver
from sala_compile.runtime.devices.cuda.library import KernelLibrary, choose_gpu_target, release
from sala_compile.runtime.devices.cuda.memory import CudaMemory
from sala_compile.runtime.devices.cuda.program import CudaProgram
from sala_compile.runtime.devices.device import Advance
from sala_compile.runtime.errors import DeviceError
from sala_compile.runtime.plan import MemoryPlan

RESERVE_BYTES = 256 << 20
"""Bytes left for code, captured graphs and the driver itself when memory is planned."""


class CudaDevice:
    """One GPU; everything is queued on one stream of its own."""

    workers = 1

    def __init__(self, artifact: Artifact, target: str | None, ordinal: int) -> None:
        """Open the driver and find the target that fits; ArtifactError if none does."""
        self._artifact = artifact
        self._driver = Driver(ordinal)
        try:
            self.target = choose_gpu_target(artifact, target, self._driver.properties)
            self._library = KernelLibrary(artifact, self.target, self._driver)
        except BaseException:
            self._driver.close()
            raise
        self._stream = 0

    @property
    def describe(self) -> str:
        """Name and architecture of the GPU, and the driver's release of CUDA."""
        gpu = self._driver.properties
        cuda = release(self._driver.version)
        return f"{gpu.name} ({name_of(gpu.capability)}), driver for CUDA {cuda}"

    def available(self) -> int:
        """The GPU's free memory without a reserve."""
        return max(0, self._driver.memory_info()[0] - RESERVE_BYTES)

    def notes(self, plan: MemoryPlan) -> tuple[str, ...]:
        """None: weights lie in the GPU's memory."""
        return ()

    def open(self) -> None:
        """Read the cubins and make the stream."""
        self._library.open()
        self._stream = self._driver.stream()

    def memory(self, plan: MemoryPlan, *, poison: bool, advance: Advance | None) -> CudaMemory:
        """Two allocations on the GPU, and the weights in one of them."""
        return CudaMemory(
            plan,
            self._artifact,
            self.target,
            self._driver,
            self._stream,
            poison=poison,
            advance=advance,
        )

    def bind(self, memory: CudaMemory) -> CudaProgram:
        """The program over the buffers of `memory`; loads the code of every kernel."""
        program = self._artifact.program.targets[self.target]
        return CudaProgram(program, self._library, memory, self._driver, self._stream)

    def close(self) -> None:
        """Unload the code and release the GPU; closing twice does nothing."""
        try:
            if self._stream:
                stream, self._stream = self._stream, 0
                self._driver.destroy_stream(stream)
                self._library.close()
        except DeviceError:
            pass  # a broken GPU takes nothing back before the process ends
        finally:
            self._driver.close()
