"""The cubins of a target on a GPU: which target fits, and its kernels by name."""

from sala_compile.runtime.artifact import Artifact, GpuKernelInfo, GpuLibrary, LaunchInfo, is_gpu
from sala_compile.runtime.artifact.architectures import (
    ARCHITECTURES,
    distrust,
    name_of,
    runs,
    serving,
)
from sala_compile.runtime.artifact.contract import require_contract
from sala_compile.runtime.devices.cuda.calls import DriverError, Refusal
from sala_compile.runtime.devices.cuda.driver import Driver, GpuProperties
from sala_compile.runtime.errors import ArtifactError

STATIC_SHARED_BYTES = 48 << 10
"""Dynamic shared memory beyond it has to be requested."""
_UNFIT = (Refusal.NO_BINARY, Refusal.INVALID_IMAGE, Refusal.UNSUPPORTED_PTX)


def choose_gpu_target(artifact: Artifact, name: str | None, gpu: GpuProperties) -> str:
    """The target `name`, or the newest one whose code this GPU runs; else ArtifactError."""
    offered = {
        target: info.mcpu
        for target, info in artifact.manifest.targets.items()
        if is_gpu(target) and target in artifact.program.targets
    }
    candidates = offered if name is None else {name: artifact.target(name).mcpu}
    fitting = [target for target, code in candidates.items() if runs(code, gpu.capability)]
    if fitting:
        return max(fitting, key=lambda target: _number(candidates[target]))
    has = ", ".join(sorted(candidates.values(), key=_number)) or "no GPU"
    raise ArtifactError(
        f"the artifact has code for {has}, the GPU is {gpu.name} ({name_of(gpu.capability)})",
        where=str(artifact.directory),
        expected=_code_for(gpu),
        fix=_compile_for(gpu),
    )


def _code_for(gpu: GpuProperties) -> str:
    """What a GPU needs: code that it runs; or another GPU."""
    code = serving(gpu.capability)
    known = ", ".join(ARCHITECTURES)
    return f"a GPU that runs code for one of {known}" if code is None else f"code for {code}"


def _compile_for(gpu: GpuProperties) -> str:
    code = serving(gpu.capability)
    if code is None:
        return "use another GPU, or run on the CPU: --device cpu; nothing is compiled for this one"
    return f"compile again with --target cuda:{code}"


def _number(code: str) -> int:
    return int(code.removeprefix("sm_"))


class KernelLibrary:
    """The kernels of a target, loaded into the GPU at the first request."""

    def __init__(self, artifact: Artifact, target: str, driver: Driver) -> None:
        """Read the table; ArtifactError if the driver is older, or the code not trusted."""
        self._artifact = artifact
        self._driver = driver
        self._info: GpuLibrary = artifact.gpu_library(target)
        self._modules: dict[int, int] = {}
        self._functions: dict[tuple[int, str, int], int] = {}
        self._image = b""
        self._where = str(artifact.directory / self._info.cubins)
        require_contract(self._info.contract, artifact.contract(target), self._where)
        if driver.version < self._info.driver:
            raise ArtifactError(
                f"the code needs a driver for CUDA {release(self._info.driver)}, this one is for "
                f"CUDA {release(driver.version)}",
                where=self._where,
                expected=f"{driver.properties.name} with a driver for CUDA "
                f"{release(self._info.driver)} or newer",
                fix="update the driver",
            )
        doubt = distrust(self._info.architecture, self._info.toolkit)
        if doubt is not None:
            raise ArtifactError(
                f"the code for {self._info.architecture} was assembled by CUDA "
                f"{self._info.toolkit}, whose code {doubt.reason}",
                where=self._where,
                expected=f"code of CUDA {doubt.oldest} or newer",
                fix="compile again",
            )

    def open(self) -> None:
        """Read the cubins and check their hash."""
        self._image = self._artifact.read_bytes(self._info.cubins)

    def kernel(self, symbol: str) -> GpuKernelInfo:
        """The kernel with this name; ArtifactError if the library has none."""
        found = self._info.kernels.get(symbol)
        if found is None:
            raise ArtifactError(
                f"the library has no kernel {symbol}",
                where=self._where,
                expected="every kernel that program.json names",
                fix="compile again",
            )
        return found

    def function(self, launch: LaunchInfo) -> int:
        """The code of a launch, on the GPU and allowed to take its shared memory."""
        key = (launch.offset, launch.entry, launch.shared_bytes)
        if key not in self._functions:
            function = self._driver.function(self._module(launch), launch.entry)
            if launch.shared_bytes > STATIC_SHARED_BYTES:
                self._allow(function, launch)
            self._driver.load_function(function)
            self._functions[key] = function
        return self._functions[key]

    def close(self) -> None:
        """Unload everything."""
        modules, self._modules, self._functions = self._modules, {}, {}
        for module in modules.values():
            self._driver.unload(module)

    def _module(self, launch: LaunchInfo) -> int:
        if launch.offset not in self._modules:
            image = self._image[launch.offset : launch.offset + launch.size]
            try:
                self._modules[launch.offset] = self._driver.load_module(image)
            except DriverError as error:
                if error.code not in _UNFIT:
                    raise
                gpu = self._driver.properties
                raise ArtifactError(
                    f"{gpu.name} does not take the code of {launch.entry}: {error.name}",
                    where=self._where,
                    expected=f"a GPU and driver for {self._info.architecture}; these are "
                    f"{name_of(gpu.capability)} and CUDA {release(self._driver.version)}",
                    fix=f"update the driver, or {_compile_for(gpu)}",
                ) from error
        return self._modules[launch.offset]

    def _allow(self, function: int, launch: LaunchInfo) -> None:
        gpu = self._driver.properties
        if launch.shared_bytes > gpu.shared_bytes:
            raise ArtifactError(
                f"{launch.entry} takes {launch.shared_bytes} bytes of shared memory, a block of "
                f"{gpu.name} has {gpu.shared_bytes}",
                where=self._where,
                expected=_code_for(gpu),
                fix=_compile_for(gpu),
            )
        self._driver.allow_shared(function, launch.shared_bytes)


def release(version: int) -> str:
    """13000 as 13.0."""
    return f"{version // 1000}.{version % 1000 // 10}"
