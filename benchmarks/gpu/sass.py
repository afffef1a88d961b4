"""The machine code of a launch: instructions, loops, and what a warp executes of them."""

import re
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_LABEL = re.compile(r"^\s*(\.L_\w+|\$[\w$]+):")
_LINE = re.compile(
    r"^\s+(?:/\*[0-9a-f]+\*/\s+)?(@!?U?P\w+\s+)?([A-Z][A-Z0-9]*(?:\.[\w]+)*)\s*(.*?);"
)
_TARGET = re.compile(r"`\((\.L_\w+)\)")
SHARED = 128
"""Bytes of shared memory of a multiprocessor in a clock."""
_OUTSIDE = "$"
"""A label that begins with it names a slow path, which is called and not counted."""
_HALF_INTEGER = {"LOP3", "SHF", "IADD3", "ISETP", "PRMT", "SEL", "IMNMX", "VIADD", "VIMNMX", "LEA"}
_HALF_INTEGER |= {"FSETP", "FMNMX", "FSEL", "PLOP3", "VIADDMNMX", "POPC", "FLO", "BREV", "IABS"}
_HALF_INTEGER |= {"IMAD", "I2FP"}
_SPECIAL = {"MUFU", "F2F", "I2F", "F2I", "FRND"}
_SHARED = {"LDS", "STS", "LDSM", "STSM", "SHFL", "ATOMS", "LDGSTS"}
_GLOBAL = {"LDG", "STG", "LDGSTS", "RED", "ATOM", "ATOMG"}


@dataclass(frozen=True, slots=True)
class Instruction:
    """An instruction: `name` without its modifiers, all of `text`, and the label it jumps to."""

    name: str
    text: str
    target: str | None = None

    @property
    def bytes(self) -> int:
        """Bytes that a lane moves."""
        width = re.search(r"\.(128|64|U?16|S16|U?8|S8)\b", self.text)
        if self.name == "LDSM":
            return 4 * int((re.search(r"M88\.?(\d)?", self.text) or [0, "1"])[1] or 1)
        if width is None:
            return 4
        return int(width[1].lstrip("US")) // 8

    @property
    def operations(self) -> float:
        """Floating-point operations of a matrix instruction: of a warp, or of its share of one."""
        if self.name == "HGMMA" or self.name == "UTCHMMA":
            found = re.search(r"(\d+)x(\d+)x(\d+)", self.text)
            assert found, self.text
            rows, columns, depth = map(int, found.groups())
            return 2.0 * rows * columns * depth / 4
        if self.name == "HMMA":
            found = re.search(r"HMMA\.(\d+)", self.text)
            assert found, self.text
            return 2.0 * {"16816": 2048, "1688": 1024, "1684": 512}[found[1]]
        return 0.0


@dataclass(slots=True)
class Loop:
    """Instructions from `begin` to `end`, and the loops among them in order."""

    begin: int
    end: int
    inner: "list[Loop]" = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a warp executes: instructions by name, and what they move and multiply.

    `integer` are those of the integer unit, `special` those of the special function unit, `shared`
    the clocks of the shared memory of a multiprocessor, `moved` bytes of global memory, `wide` the
    operations of a warp in wgmma, `narrow` those in mma.sync, both of bf16; of TF32 twice as many.
    """

    issue: float = 0.0
    integer: float = 0.0
    special: float = 0.0
    shared: float = 0.0
    moved: float = 0.0
    wide: float = 0.0
    narrow: float = 0.0

    def plus(self, other: "Counts", times: float = 1.0) -> "Counts":
        """The sum with `times` the other."""
        pairs = ((getattr(self, n), getattr(other, n)) for n in Counts.__dataclass_fields__)
        return Counts(*(mine + times * theirs for mine, theirs in pairs))


Trips = float | tuple[float, "Sequence[Trips]"]
"""How often a loop runs each time that it is reached; with those of the loops within."""


@dataclass(frozen=True, slots=True)
class Code:
    """The code of a launch: its instructions without slow paths, and its outermost loops."""

    instructions: tuple[Instruction, ...]
    loops: tuple[Loop, ...]

    def count(self, trips: Sequence[Trips], *, products: bool, others: float = 1.0) -> Counts:
        """What a warp executes when its loops run as often as `trips` tell, in their order.

        With `products` only the outermost loops that multiply matrices have a number; `others` is
        that of the rest; a single one may be unrolled whole. ValueError where loops and numbers do
        not match.
        """
        named = [loop for loop in self.loops if not products or self._multiplies(loop)]
        if (
            products
            and not named
            and len(trips) == 1
            and any(each.operations for each in self.instructions)
        ):
            trips = []
        if len(named) != len(trips):
            raise ValueError(f"{len(trips)} numbers of turns for {len(named)} loops")
        total = _counted(self._outside(0, len(self.instructions), self.loops))
        turns = dict(zip(map(id, named), trips, strict=True))
        for loop in self.loops:
            total = total.plus(self._loop(loop, turns.get(id(loop), others)))
        return total

    def operations(self, index: int) -> float:
        """Operations of one turn of the loop that multiplies matrices, by its number."""
        loop = [loop for loop in self.loops if self._multiplies(loop)][index]
        return sum(each.operations for each in self.instructions[loop.begin : loop.end])

    @property
    def overlaps(self) -> bool:
        """Whether wgmma are still under way when their warps go on."""
        waits = (each.text for each in self.instructions if "WARPGROUP.DEPBAR" in each.text)
        return any(re.search(r"gsb0, 0x[1-9]", text) for text in waits)

    def first_exit(self) -> Counts:
        """What a warp executes that has nothing to do."""
        names = [each.name for each in self.instructions]
        return _counted(self.instructions[: names.index("EXIT") + 1])

    def _loop(self, loop: Loop, trips: Trips) -> Counts:
        turns, within = trips if isinstance(trips, tuple) else (trips, [1.0] * len(loop.inner))
        if len(within) != len(loop.inner):
            raise ValueError(f"{len(within)} numbers of turns for {len(loop.inner)} inner loops")
        body = _counted(self._outside(loop.begin, loop.end, loop.inner))
        for inner, each in zip(loop.inner, within, strict=True):
            body = body.plus(self._loop(inner, each))
        return Counts().plus(body, turns)

    def _outside(self, begin: int, end: int, loops: Sequence[Loop]) -> Iterator[Instruction]:
        inside = {i for loop in loops for i in range(loop.begin, loop.end)}
        return (self.instructions[i] for i in range(begin, end) if i not in inside)

    def _multiplies(self, loop: Loop) -> bool:
        return any(each.operations for each in self.instructions[loop.begin : loop.end])


def parse(text: str) -> Code:
    """Read what `nvdisasm -c` prints for one kernel."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        label = _LABEL.match(line)
        if label and label[1].startswith(_OUTSIDE):
            break
        if label:
            labels[label[1]] = len(instructions)
            continue
        found = _LINE.match(line)
        if found:
            target = _TARGET.search(found[3])
            name = found[2].split(".")[0]
            instructions.append(
                Instruction(name, f"{found[2]} {found[3]}", target[1] if target else None)
            )
    return Code(tuple(instructions), tuple(_loops(instructions, labels)))


def _loops(instructions: Sequence[Instruction], labels: dict[str, int]) -> list[Loop]:
    """The outermost loops: a branch to a place before it ends one."""
    ends: dict[int, int] = {}
    for index, each in enumerate(instructions):
        begin = labels.get(each.target or "", index)
        if each.name == "BRA" and begin < index:
            ends[begin] = max(ends.get(begin, 0), index + 1)
    found: list[Loop] = []
    open_loops: list[Loop] = []
    for begin, end in sorted(ends.items(), key=lambda item: (item[0], -item[1])):
        loop = Loop(begin, end)
        while open_loops and open_loops[-1].end <= begin:
            open_loops.pop()
        (open_loops[-1].inner if open_loops else found).append(loop)
        open_loops.append(loop)
    return found


def _counted(instructions: "Iterator[Instruction] | Sequence[Instruction]") -> Counts:
    sums: defaultdict[str, float] = defaultdict(float)
    for each in instructions:
        sums["issue"] += 1
        sums["integer"] += each.name in _HALF_INTEGER
        sums["special"] += each.name in _SPECIAL
        if each.name in _SHARED:
            sums["shared"] += max(1, each.bytes * 32 // SHARED)
        if each.name in _GLOBAL:
            sums["moved"] += 32 * each.bytes
        kind = "narrow" if each.name == "HMMA" else "wide"
        sums[kind] += each.operations * (2 if "TF32" in each.text else 1)
    return Counts(**sums)


def disassemble(code: bytes) -> str:
    """The instructions of a cubin, by the disassembler in Triton's package."""
    with tempfile.TemporaryDirectory(prefix="sala-sass-") as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(code)
        command = [str(_disassembler()), "-c", str(path)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def _disassembler() -> Path:
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "nvdisasm"
