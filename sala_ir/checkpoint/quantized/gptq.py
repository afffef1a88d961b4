"""GPTQ checkpoints, as AutoGPTQ and GPTQModel write them.

A module has qweight int32 [K / 8, N], 8 rows of K to a word from the low bits up; scales
[groups, N]; qzeros int32 [groups, N / 8]; g_idx int32 [K], the group of every input. The value is
scales[g_idx[k], n] * (code - zero). In version 1 the words of qzeros hold zero - 1, in version 2
the zeros themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sala_compile.runtime.errors import CheckpointError
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.quantized.dynamic import Overrides
from sala_compile.sala_ir.checkpoint.quantized.integer_groups import (
    FLOATS,
    MIDDLE,
    Part,
    PublishedTensor,
    QuantizedTensors,
    modules_with,
    neighbours,
    nibbles,
    read_member,
    same_fields,
)
from sala_compile.sala_ir.checkpoint.quantized.known_fields import GPTQ
from sala_compile.sala_ir.checkpoint.quantized.settings import Settings
from sala_compile.sala_ir.field_rules import check_fields

VERSIONS = {"gptq": 1, "gptq_v2": 2}
"""checkpoint_format -> version."""


def find(
    checkpoint: Checkpoint, settings: Settings, expected: Mapping[str, tuple[int, ...]]
) -> QuantizedTensors:
    """The weights that have a qweight."""
    unknown = check_fields(settings.fields, GPTQ, settings.place, CheckpointError)
    overrides = Overrides.of(settings.fields.get("dynamic") or {}, settings.place)
    reader = _Reader(checkpoint, settings, overrides, frozenset(expected))
    modules = list(modules_with(checkpoint, expected, "qweight"))
    version = reader.version([module for _, module, _ in modules])
    tensors = {name: reader.tensor(module, shape, version) for name, module, shape in modules}
    return QuantizedTensors(f"GPTQ version {version}", tensors, unknown + overrides.unknown)


@dataclass(frozen=True, slots=True)
class _Reader:
    checkpoint: Checkpoint
    settings: Settings
    overrides: Overrides
    expected: frozenset[str]

    def tensor(self, module: str, shape: tuple[int, int], version: int) -> PublishedTensor:
        """One module."""
        rows, columns = shape
        fields = self._fields(module)
        size = same_fields(fields, f"{self.settings.place} for {module}", "group_size")
        group = columns if size == -1 else size
        groups = -(-columns // group)
        members = {name: f"{module}.{name}" for name in ("qweight", "qzeros", "scales")}
        shapes = {
            "qweight": (-(-columns // 8), rows),
            "qzeros": (groups, -(-rows // 8)),
            "scales": (groups, rows),
        }
        words, zeros, scales = (
            read_member(self.checkpoint, members[name], shapes[name], elements)
            for name, elements in (("qweight", ("I32",)), ("qzeros", ("I32",)), ("scales", FLOATS))
        )
        order = f"{module}.g_idx"
        reordered = bool(fields.get("desc_act")) and not fields.get("static_groups")
        has_order = neighbours(self.checkpoint, order, columns, group, reordered=reordered)
        owned = (*members.values(), *([order] if has_order else []), *self._bias(module))
        symmetric = fields.get("sym") is not False
        if symmetric:
            self._require_middle(module, zeros, version)
        return PublishedTensor(
            module,
            shape,
            group,
            owned,
            codes=lambda: nibbles(words().T)[:, :columns],
            scales=lambda: np.ascontiguousarray(scales().T),
            zeros=None if symmetric else lambda: self._zeros(module, zeros, version)[:rows],
        )

    def version(self, modules: list[str]) -> int:
        """1 or 2: what the configuration says; where it is silent, what symmetric zeros show."""
        fields, place = self.settings.fields, self.settings.place
        names = [name for name in ("checkpoint_format", "format") if fields.get(name) is not None]
        if names:
            return VERSIONS[same_fields(fields, place, *names).lower()]
        stored = {int(word) for module in modules for word in self._words(module)}
        if fields.get("sym") is not False:
            for version, word in ((1, 0x77777777), (2, 0x88888888)):
                if stored <= {word}:
                    return version
        raise CheckpointError(
            "nothing says whether the zeros of the checkpoint are those of version 1 or 2",
            where=f"{place}: checkpoint_format",
            expected='"gptq" (zeros are stored less one) or "gptq_v2" (as they are)',
            fix="find out what wrote the checkpoint, and add the field",
        )

    def _fields(self, module: str) -> Mapping[str, Any]:
        """The configuration of a module: the general one, and what `dynamic` changes."""
        fields = self.settings.fields | self.overrides.of_module(module)
        if same_fields(fields, f"{self.settings.place} for {module}", "bits") != 4:
            raise CheckpointError(
                f"bits is {fields['bits']}",
                where=f"{self.settings.place} for {module}",
                expected="4",
                fix="use the unquantised checkpoint",
            )
        return fields

    def _words(self, module: str) -> np.ndarray:
        name = f"{module}.qzeros"
        stored = self.checkpoint.tensors.get(name)
        shape = () if stored is None else stored.shape
        return np.unique(read_member(self.checkpoint, name, shape, ("I32",))().view(np.uint32))

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

    def _bias(self, module: str) -> Iterator[str]:
        """A bias of zeros that the model does not have: some writers add it to every module."""
        name = f"{module}.bias"
        is_foreign = name in self.checkpoint.tensors and name not in self.expected
        if is_foreign and not self.checkpoint.read(name).any():
            yield name
