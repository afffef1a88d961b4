"""Which weights a generated token reads, and what that costs where memory does not hold them."""

from dataclasses import dataclass
from math import prod

from sala_compile.runtime.artifact import Artifact, KernelInfo
from sala_compile.runtime.artifact.program import PhaseName, Program, Value, ValueKind
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.errors import ArtifactError

EXPERTS, EMBEDDING = "experts", "embedding"
"""Beginnings of the families of kernels that read a part of their weights for a token."""
PHASES = (PhaseName.DECODE, PhaseName.LOGITS)


@dataclass(frozen=True, slots=True)
class WeightReads:
    """Bytes of the weights: `always` are read for every token, `chosen` of `experts` too."""

    always: int
    experts: int
    chosen: int

    @property
    def token(self) -> int:
        """Bytes that a token reads."""
        return self.always + self.chosen

    def from_disk(self, held: int) -> int:
        """Bytes of a token that come from disk where `held` bytes of weights stay in memory.

        What every token reads stays before experts do; experts are taken to be chosen alike. If
        not even that is held, a cache that drops what was not read for the longest time holds
        nothing of it for the next token.
        """
        if held < self.always:
            return self.token
        missing = max(0, self.experts - (held - self.always))
        return self.chosen * missing // max(1, self.experts)


def weight_bytes(program: Program, target: str) -> tuple[int, dict[int, int]]:
    """Bytes of the weights that every token reads, and of all experts by their step of decoding.

    Embeddings, of which a token reads a row, are neither.
    """
    always: dict[str, int] = {}
    experts: dict[int, int] = {}
    for phase in PHASES:
        for index, step in enumerate(program.targets[target].phases[phase].steps):
            values = {name: program.values[name] for name in step.arguments}
            weights = {n: _bytes(v) for n, v in values.items() if v.kind is ValueKind.WEIGHT}
            if step.family == EXPERTS:
                experts[index] = sum(weights.values())
            elif EMBEDDING not in step.family:
                always |= weights
    return sum(always.values()), experts


def weight_reads(artifact: Artifact, target: str) -> WeightReads:
    """What tokens read of a target's weights."""
    always, experts = weight_bytes(artifact.program, target)
    share = {
        kernel.symbol: _count(kernel, "chosen") / _count(kernel, "experts")
        for kernel in artifact.manifest.kernels
        if kernel.family == EXPERTS and kernel.target == target
    }
    steps = artifact.program.targets[target].phases[PhaseName.DECODE].steps
    chosen = sum(size * share[steps[index].kernel] for index, size in experts.items())
    return WeightReads(always, sum(experts.values()), int(chosen))


def disk_note(reads: WeightReads, weights: int, held: int, bytes_per_second: float) -> str:
    """What it costs that memory holds only `held` of the bytes of the weights."""
    read = reads.from_disk(held)
    return (
        f"the weights ({format_bytes(weights)}) are larger than the {format_bytes(max(0, held))} "
        f"of memory that is left for them: of the {format_bytes(reads.token)} that a token reads "
        f"about {format_bytes(read)} will come from disk, {read / bytes_per_second:.2g} s at the "
        f"{bytes_per_second / 1e9:.2g} GB/s that it was just read at; a prompt reads all of them "
        "once for each chunk"
    )


def _count(kernel: KernelInfo, name: str) -> int:
    found = kernel.spec.get(name)
    if not isinstance(found, int) or found < 1:
        raise ArtifactError(
            f"the kernel has no count of {name}",
            where=f"manifest.json: kernel {kernel.symbol}",
            expected="how many experts there are, and how many a token chooses",
            fix="compile again",
        )
    return found


def _bytes(value: Value) -> int:
    sizes = (int(size) for size in value.shape if isinstance(size, int))
    return prod(sizes) * value.dtype.numpy.itemsize
