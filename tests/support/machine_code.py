"""Machine code of a cubin with the scoreboards that its instructions set and wait for.

An instruction is 128 bits; of its control bits, from bit 105 on: 4 of stall, 1 of yield, 3 that
name the scoreboard which its result releases, 3 that of its operands (7 is none), and a mask of
the 6 scoreboards that it waits for (Jia et al. 2018, "Dissecting the NVIDIA Volta GPU", 2.1).
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import triton

NO_SCOREBOARD = 7
_LINE = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;\s*/\* 0x([0-9a-f]+) \*/")
_SECOND = re.compile(r"^\s*/\* 0x([0-9a-f]+) \*/")


@dataclass(frozen=True, slots=True)
class MachineInstruction:
    """An instruction: its text, the scoreboard of its result, the mask of those it waits for."""

    text: str
    releases: int
    waits: int

    def waits_for(self, scoreboard: int) -> bool:
        """Whether it begins only when a scoreboard was released."""
        return bool(self.waits >> scoreboard & 1)


def machine_code(cubin: Path) -> list[MachineInstruction]:
    """The instructions of a cubin, in order."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"
    done = subprocess.run([tool, "-hex", cubin], capture_output=True, text=True, check=True)
    return list(_instructions(done.stdout.splitlines()))


def _instructions(lines: Sequence[str]) -> Iterator[MachineInstruction]:
    for first, second in pairwise(lines):
        low, high = _LINE.match(first), _SECOND.match(second)
        if low and high:
            control = (int(high[1], 16) << 64 | int(low[2], 16)) >> 105
            yield MachineInstruction(low[1], control >> 5 & 7, control >> 11 & 63)


def early_uses(code: Sequence[MachineInstruction], opcode: str) -> list[str]:
    """Loads by `opcode` whose registers an instruction reads or writes before their scoreboard.

    Of loads that follow each other the last may carry the scoreboard of all: they end in order.
    """
    found = []
    for place, load in enumerate(code):
        if not load.text.startswith(opcode):
            continue
        registers, scoreboard = _loaded(load.text), load.releases
        for later in code[place + 1 :]:
            if later.text.startswith(opcode) and scoreboard == NO_SCOREBOARD:
                scoreboard = later.releases
            elif scoreboard != NO_SCOREBOARD and later.waits_for(scoreboard):
                break
            elif registers & _registers(later.text):
                found.append(f"{load.text} ... {later.text}")
                break
    return found


def _loaded(text: str) -> set[int]:
    """The registers of a load such as LDTM.x16 R4, tmem[UR4]."""
    first, count = re.search(r"\bR(\d+)", text), re.search(r"\.x(\d+)\b", text)
    assert first is not None, text
    return set(range(int(first[1]), int(first[1]) + (int(count[1]) if count else 1)))


def _registers(text: str) -> set[int]:
    """Registers that are named; of those that stand for several, the first."""
    return {int(number) for number in re.findall(r"(?<![A-Z])R(\d+)", text)}
