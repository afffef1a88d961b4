"""The tensors of a weight file of an artifact: a checked header, a private mapping."""

import mmap
from collections.abc import Mapping
from math import prod

import numpy as np

from sala_compile.runtime.artifact.format_model import ALIGNMENT
from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.common.json_text import JsonLimits, shortened
from sala_compile.runtime.common.safetensors_format import (
    STORED_TYPES,
    HeaderRule,
    StoredTensor,
    read_tensors,
)
from sala_compile.runtime.common.safetensors_writer import PADDING
from sala_compile.runtime.errors import ArtifactError

MAP_NORESERVE = 0x4000
"""Linux: a private mapping that nobody writes needs no reserved memory; not in Python 3.11."""
RULE = HeaderRule(error=ArtifactError, fix="compile again", limits=JsonLimits(size=16 << 20))


def read_header(file: OpenFile) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file, aligned and checked against the file's size.

    Raises ArtifactError for a truncated or contradictory header. Padding is left out.
    """
    found = read_tensors(file.read_at, file.size, str(file.path), RULE)
    tensors = {name: each for name, each in found.items() if not name.startswith(PADDING)}
    for name, tensor in tensors.items():
        if tensor.offset % ALIGNMENT:
            raise RULE.refuse(f"{name} is not aligned to {ALIGNMENT} bytes", str(file.path))
    return tensors


class MappedTensors:
    """The tensors of one file as views of a private mapping: clean pages, shared by processes.

    The mapping is writable (NumPy exports no read-only memory to DLPack), but nobody writes.
    """

    def __init__(self, file: OpenFile) -> None:
        self._path = file.path
        self.stored: Mapping[str, StoredTensor] = read_header(file)
        private = mmap.MAP_PRIVATE | MAP_NORESERVE
        self._map = mmap.mmap(
            file.fileno(), file.size, flags=private, prot=mmap.PROT_READ | mmap.PROT_WRITE
        )
        self.nbytes = len(self._map)

    def array(self, name: str) -> np.ndarray:
        """The tensor `name`, bfloat16 as uint16; no copy. ArtifactError if there is none."""
        tensor = self.stored.get(name)
        if tensor is None:
            raise RULE.refuse(f"there is no tensor {shortened(name)}", str(self._path))
        dtype = STORED_TYPES[tensor.spec.dtype]
        flat = np.frombuffer(self._map, dtype, prod(tensor.spec.shape), tensor.offset)
        return flat.reshape(tensor.spec.shape)
