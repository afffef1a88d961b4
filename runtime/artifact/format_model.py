"""What every part of the format shares: frozen models, canonical JSON, element types."""

import json
from enum import StrEnum
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

ALIGNMENT = 64
"""Bytes to which every buffer and every stored tensor is aligned."""


class Frozen(BaseModel):
    """A record of the format: immutable, and without unknown fields.

    What validates it is built when it is first used: starting takes no time for the others.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), defer_build=True
    )


class ElementType(StrEnum):
    """Element type of a buffer as the kernels see it; bfloat16 travels as `uint16` or `uint32`."""

    FLOAT32 = "float32"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT16 = "uint16"
    UINT8 = "uint8"
    INT8 = "int8"

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return np.dtype(self.value).itemsize

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy type of one element."""
        return np.dtype(self.value)


def align(size: int) -> int:
    """`size` rounded up to a multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def is_gpu(target: str) -> bool:
    """Whether a target of this name, such as `cuda:sm_90`, is a GPU."""
    return target.partition(":")[0] == "cuda"


def canonical_json(record: BaseModel) -> bytes:
    """The canonical bytes of `record`: sorted keys, no defaults left out."""
    return canonical_document(record.model_dump(mode="json"))


def canonical_document(document: Any) -> bytes:
    """The canonical bytes of a JSON document."""
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()
