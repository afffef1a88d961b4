"""GPTQ checkpoints, as AutoGPTQ and GPTQModel write them.

A module has qweight int32 [K / 8, N], 8 rows of K to a word from the low bits up; scales
[groups, N]; qzeros int32 [groups, N / 8]; g_idx int32 [K], the group of every input. The value is
scales[g_idx[k], n] * (code - zero). In version 1 the words of qzeros hold zero - 1, in version 2
the zeros themselves.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.errors import CheckpointError
from sala_ir.checkpoint import Checkpoint
from sala_ir.published.tensors import MIDDLE, Part, PublishedTensor, nibbles, read_member, require

FLOATS = ("F16", "BF16", "F32")
VERSIONS = {"gptq": 1, "gptq_v2": 2}
"""checkpoint_format -> version."""


def find(
    checkpoint: Checkpoint,
    config: Mapping[str, Any],
    expected: Mapping[str, tuple[int, ...]],
    place: str,
) -> tuple[str, dict[str, PublishedTensor]]:
    """Name of the format, and the weights that have a qweight."""
    reader = _Reader(checkpoint, config, place, frozenset(expected))
    modules = {
        name: name.removesuffix(".weight")
        for name in expected
        if f"{name.removesuffix('.weight')}.qweight" in checkpoint.tensors
    }
    version = reader.version(list(modules.values()))
    found: dict[str, PublishedTensor] = {}
    for name, module in modules.items():
        rows, columns = expected[name]
        found[name] = reader.tensor(module, rows, columns, version)
    return f"GPTQ version {version}", found


@dataclass(frozen=True, slots=True)
class _Reader:
    checkpoint: Checkpoint
    config: Mapping[str, Any]
    place: str
    expected: frozenset[str]

    def settings(self, module: str) -> Mapping[str, Any]:
        """The configuration of a module: the general one, and what `dynamic` changes."""
        chosen = dict(self.config)
        for pattern, changes in (self.config.get("dynamic") or {}).items():
            sign, body = (pattern[0], pattern[2:]) if pattern[1:2] == ":" else ("+", pattern)
            if not re.match(body, module):
                continue
            if sign == "-":
                raise CheckpointError(
                    f"{module} is quantised, and the configuration says that it is not",
                    where=f"{self.place}: dynamic: {pattern}",
                    expected="the tensor weight for a module of a negative pattern",
                )
            chosen |= changes
            break
        require(chosen, f"{self.place} for {module}", "bits", 4)
        return chosen

    def tensor(self, module: str, rows: int, columns: int, version: int) -> PublishedTensor:
        """One module."""
        settings = self.settings(module)
        size = settings.get("group_size", -1)
        group = columns if size == -1 else size
        groups = -(-columns // group)
        members = {name: f"{module}.{name}" for name in ("qweight", "qzeros", "scales")}
        shapes = {
            "qweight": (columns // 8, rows),
            "qzeros": (groups, -(-rows // 8)),
            "scales": (groups, rows),
        }
        words, zeros, scales = (
            read_member(self.checkpoint, members[name], shapes[name], elements)
            for name, elements in (("qweight", ("I32",)), ("qzeros", ("I32",)), ("scales", FLOATS))
        )
        owned = (*members.values(), *self._order(module, columns, group), *self._bias(module))
        symmetric = settings.get("sym", True)
        if symmetric:
            self._require_middle(module, zeros, version)
        return PublishedTensor(
            module,
            (rows, columns),
            group,
            owned,
            codes=lambda: nibbles(words().T),
            scales=lambda: np.ascontiguousarray(scales().T),
            zeros=None if symmetric else lambda: self._zeros(module, zeros, version)[:rows],
        )

    def version(self, modules: list[str]) -> int:
        """1 or 2: what the configuration says; where it is silent, what symmetric zeros show."""
        named = self.config.get("checkpoint_format")
        if named is not None:
            require(self.config, self.place, "checkpoint_format", *VERSIONS)
            return VERSIONS[named]
        stored = {int(word) for module in modules for word in self._words(module)}
        if self.config.get("sym", True):
            for version, word in ((1, 0x77777777), (2, 0x88888888)):
                if stored == {word}:
                    return version
        raise CheckpointError(
            "nothing tells whether the zeros of the checkpoint are those of version 1 or 2",
            where=f"{self.place}: checkpoint_format",
            expected='"gptq" (zeros are stored less one) or "gptq_v2" (as they are)',
            fix="find out what wrote the checkpoint, and add the field",
        )

    def _words(self, module: str) -> np.ndarray:
        return np.unique(self.checkpoint.read(f"{module}.qzeros").view(np.uint32))

    def _zeros(self, module: str, words: Part, version: int) -> np.ndarray:
        """Zeros [N padded, groups]; a stored 15 means different zeros to different programs."""
        stored = np.ascontiguousarray(nibbles(words()).T)
        if version == 1 and (stored == 15).any():
            raise CheckpointError(
                "a stored zero is 15, which version 1 does not define: 16, or 0 with a borrow",
                where=f"{module}.qzeros",
                expected="stored zeros from 0 to 14",
                fix="quantise again as checkpoint_format gptq_v2",
            )
        return stored + np.uint8(version == 1)

    def _require_middle(self, module: str, words: Part, version: int) -> None:
        zeros = self._zeros(module, words, version)
        if (zeros != MIDDLE).any():
            raise CheckpointError(
                f"a zero is {int(zeros[zeros != MIDDLE][0])} in a symmetric checkpoint",
                where=f"{module}.qzeros",
                expected=f"{MIDDLE}, stored as {MIDDLE - 1} in version 1",
                fix="checkpoint_format or sym in the configuration is wrong",
            )

    def _order(self, module: str, columns: int, group: int) -> Iterator[str]:
        """g_idx, where there is one, must count up by groups."""
        name = f"{module}.g_idx"
        if name not in self.checkpoint.tensors:
            return
        found = read_member(self.checkpoint, name, (columns,), ("I32", "I64"))()
        if not np.array_equal(found, np.arange(columns) // group):
            raise CheckpointError(
                "the inputs of the weight are grouped in the order of their activations",
                where=f"{self.checkpoint.directory}: {name}",
                expected="groups of neighbours: no kernel gathers single inputs",
                fix="quantise with desc_act false, or with static groups",
            )
        yield name

    def _bias(self, module: str) -> Iterator[str]:
        """A bias of zeros that the model does not have: some writers add it to every module."""
        name = f"{module}.bias"
        is_foreign = name in self.checkpoint.tensors and name not in self.expected
        if is_foreign and not self.checkpoint.read(name).any():
            yield name
