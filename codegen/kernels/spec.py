"""The constants that a kernel is compiled for: their names, and how a module keeps them."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any, Self, get_type_hints

from sala_compile.passes.support.kernel_choice import SpecValue


@dataclass(frozen=True, slots=True)
class KernelSpec(ABC):
    """Every constant of a kernel, so that equal specs are equal kernels."""

    @property
    @abstractmethod
    def label(self) -> str:
        """The family and the main sizes, for names."""

    @property
    def symbol(self) -> str:
        """A name that is unique for the spec: the label and a digest of all fields."""
        fields = repr(sorted(self.values.items())).encode()
        return f"{self.label}_{hashlib.blake2b(fields, digest_size=4).hexdigest()}"

    @property
    def values(self) -> dict[str, SpecValue]:
        """The fields by name; enums as their values."""
        values = asdict(self).items()
        return {name: value.value if isinstance(value, Enum) else value for name, value in values}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The spec with these `values`; ValueError or TypeError if they make none."""
        kinds = get_type_hints(cls)
        return cls(
            **{
                name: kinds[name](value) if _is_enum(kinds.get(name)) else value
                for name, value in values.items()
            }
        )


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)
