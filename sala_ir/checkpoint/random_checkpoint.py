"""Checkpoints with seeded random weights, written as they are drawn: for tests and measurements.

Every value is one that bfloat16 represents, so that the element type of the file changes nothing.
"""

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sala_compile.runtime.common.safetensors_format import STORED_TYPES, TensorSpec
from sala_compile.runtime.common.safetensors_writer import TensorWriter
from sala_compile.sala_ir.checkpoint.checkpoint import INDEX_FILE, WEIGHTS_FILE
from sala_compile.sala_ir.checkpoint.random_spread import Spread, spreads
from sala_compile.sala_ir.checkpoint.safetensors_file import BFLOAT16
from sala_compile.sala_ir.frontends import CONFIG_FILE, frontend_for

Shape = tuple[int, ...]
Adjust = Callable[[str, int, np.ndarray], np.ndarray]
"""(tensor, first row, rows) -> the rows to store in their place."""

_ROW_VALUES = 1 << 22


def write_random_checkpoint(
    directory: Path,
    raw: Mapping[str, Any],
    *,
    seed: int = 0,
    element: str = "BF16",
    shards: int = 1,
    adjust: Adjust | None = None,
) -> Path:
    """Write config.json and weights for the config `raw` into `directory`, and return it.

    `element` is BF16, F16 or F32. With more than one shard the files are named by an index.
    """
    frontend = frontend_for(raw)
    config = frontend.parse_config(raw)
    tensors = frontend.expected_tensors(config)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / CONFIG_FILE).write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    writer = _Writer(spreads(frontend.build_module(config)), seed, element, adjust)
    parts, size = _split(tensors, shards), 0
    for file, names in parts.items():
        size += writer.write(directory / file, {name: tensors[name] for name in names})
    if shards > 1:
        home = {name: file for file, names in parts.items() for name in names}
        index = {"metadata": {"total_size": size}, "weight_map": home}
        (directory / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return directory


class _Writer:
    def __init__(
        self, spreads: Mapping[str, Spread], seed: int, element: str, adjust: Adjust | None
    ):
        self._spreads = spreads
        self._seed = seed
        self._element = element
        self._dtype = BFLOAT16 if element == "BF16" else STORED_TYPES[element]
        self._adjust = adjust

    def write(self, path: Path, tensors: Mapping[str, Shape]) -> int:
        """Write one safetensors file; the bytes of its data."""
        specs = [TensorSpec(name, self._element, shape) for name, shape in tensors.items()]
        path.unlink(missing_ok=True)
        with TensorWriter(
            path, specs, alignment=1, durable=False, metadata={"format": "pt"}
        ) as file:
            for name, shape in tensors.items():
                for rows in self._rows(name, shape):
                    file.write(name, rows)
        return sum(spec.nbytes for spec in specs)

    def _rows(self, name: str, shape: Shape) -> Iterator[np.ndarray]:
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        step = max(1, _ROW_VALUES // math.prod(shape[1:]))
        for start in range(0, shape[0], step):
            block = (min(step, shape[0] - start), *shape[1:])
            rows = _draw(generator, block, self._spreads[name])
            rows = rows if self._adjust is None else self._adjust(name, start, rows)
            yield rows.astype(BFLOAT16).astype(self._dtype, copy=False)


def _draw(generator: np.random.Generator, shape: Shape, spread: Spread) -> np.ndarray:
    if spread.is_norm:
        return (generator.uniform(0.5, 1.5, shape) - spread.offset).astype(np.float32)
    return generator.standard_normal(shape, np.float32) * np.float32(spread.deviation)


def _split(tensors: Mapping[str, Shape], shards: int) -> dict[str, list[str]]:
    """Deal the tensors, in their order, to files of about equal numbers of tensors."""
    if shards == 1:
        return {WEIGHTS_FILE: list(tensors)}
    names = list(tensors)
    ends = [round(index * len(names) / shards) for index in range(shards + 1)]
    return {
        f"model-{index + 1:05}-of-{shards:05}.safetensors": names[ends[index] : ends[index + 1]]
        for index in range(shards)
    }
