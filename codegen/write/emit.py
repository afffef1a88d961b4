"""The files of an artifact: weights, libraries, program, texts and the manifest."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from sala_compile.codegen.layouts.encodings import part_name, value_type
from sala_compile.codegen.progress import Advance
from sala_compile.codegen.weights.expressions import Measure
from sala_compile.codegen.weights.packing import PackedWeight, pieces
from sala_compile.runtime.artifact import ModelInfo, TensorInfo, align, is_gpu
from sala_compile.runtime.artifact.format_model import ALIGNMENT
from sala_compile.runtime.artifact.writer import ArtifactWriter
from sala_compile.runtime.common.safetensors_writer import file_bytes
from sala_compile.sala_ir.frontends import ModelFacts
from sala_compile.sala_ir.interpreter.weight_rows import RowSource

RUNTIME_NAME = "lib/libtvm_runtime.so"
FILE_BYTES = 2 << 30
"""Bytes of one weight file, about."""
PACKAGES = ("sala-compile", "apache-tvm", "apache-tvm-ffi", "xdsl", "numpy")
"""Packages whose versions the manifest names."""


def package_versions(targets: Iterable[str]) -> dict[str, str]:
    """The versions of what made the artifact."""
    compilers = ("triton",) if any(map(is_gpu, targets)) else ()
    return {name: version(name) for name in (*PACKAGES, *compilers)}


def model_info(
    facts: ModelFacts, raw: Mapping[str, Any], digest: str, end_tokens: tuple[int, ...]
) -> ModelInfo:
    """Family, digests, sizes and special tokens of a model; `digest` is its checkpoint's."""
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
    return ModelInfo(
        family=facts.family,
        config_digest=hashlib.sha256(canonical).hexdigest(),
        digest=digest,
        vocabulary=facts.vocabulary,
        sizes=dict(facts.sizes),
        trained_length=facts.trained_length,
        eos_token_ids=end_tokens,
        bos_token_id=facts.begin_token,
    )


def weight_files(weights: Sequence[PackedWeight]) -> dict[str, list[PackedWeight]]:
    """The weights by file, in order.

    A new file begins where one would grow beyond `FILE_BYTES`, and where other kinds of targets
    read the weights, so that none has to load what it does not read.
    """
    groups: list[list[PackedWeight]] = []
    size = FILE_BYTES
    for weight in weights:
        size += weight.nbytes
        if size > FILE_BYTES or groups[-1][-1].readers != weight.readers:
            groups.append([])
            size = weight.nbytes
        groups[-1].append(weight)
    return {f"weights-{n:05d}.safetensors": group for n, group in zip(count(1), groups)}


def weight_file_bytes(weights: Sequence[PackedWeight]) -> int:
    """Bytes of all weight files, headers and padding included: what a loader maps."""
    return sum(
        file_bytes((spec for weight in group for spec in weight.specs), ALIGNMENT)
        for group in weight_files(weights).values()
    )


def device_weight_bytes(weights: Iterable[PackedWeight]) -> int:
    """Bytes of the tensors alone, each aligned: what they take on a GPU."""
    return sum(align(spec.nbytes) for weight in weights for spec in weight.specs)


def write_weights(
    writer: ArtifactWriter,
    weights: Sequence[PackedWeight],
    source: RowSource,
    advance: Advance,
    measure: Measure | None = None,
) -> tuple[str, ...]:
    """Stream every weight into its file; the paths of the files."""
    files = weight_files(weights)
    for path, group in files.items():
        with writer.tensors(path, [spec for weight in group for spec in weight.specs]) as tensors:
            for weight in group:
                for suffix, piece in pieces(weight, source, measure):
                    tensors.write(part_name(weight.name, suffix), piece)
                    advance(piece.nbytes)
    return tuple(files)


def tensor_infos(weights: Sequence[PackedWeight]) -> dict[str, TensorInfo]:
    """How every stored tensor encodes its logical one."""
    return {
        weight.name: TensorInfo(
            encoding=weight.type.encoding.label,
            dtype=value_type(weight.type),
            shape=weight.type.get_shape(),
            layout=weight.layout,
        )
        for weight in weights
    }


def runtime_library() -> Path:
    """TVM's small runtime library, which goes next to the kernels."""
    import tvm

    return Path(tvm.__file__).parent / "lib" / "libtvm_runtime.so"
