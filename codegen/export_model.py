"""A whole export: from options to a directory with a model, its weights and its texts."""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from time import perf_counter
from typing import Any

from sala_compile.codegen.onnx_export.assemble_model import onnx_model
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.genai_config import (
    GENAI_CONFIG,
    genai_config,
    why_not_genai,
)
from sala_compile.codegen.onnx_export.lower import LoweredModel, lower_to_onnx
from sala_compile.codegen.onnx_export.output import OutputDirectory, write_directory
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.progress import Progress
from sala_compile.codegen.quantization.source import open_weights
from sala_compile.codegen.write.disk import file_errors
from sala_compile.passes.pipeline import run_pipeline
from sala_compile.passes.quantize_weights import QuantizeWeights
from sala_compile.sala_ir.frontends import CONFIG_FILE

MODEL_NAME = "model.onnx"
WEIGHTS_NAME = "model.safetensors"


def export_onnx(
    options: CompileOptions, element: OnnxElement, progress: Progress
) -> dict[str, Any]:
    """Write the directory `options.output`; the summary of what was written.

    Raises SalaError for what the user can mend.
    """
    start = perf_counter()
    with file_errors(), ExitStack() as stack:
        source = open_source(options, stack)
        assert options.output is not None, "checked with the options"
        module = source.captured.clone()
        run_pipeline(module, [QuantizeWeights(options.quantization, options.dtype)])
        lowered = lower_to_onnx(module, element)
        why_not = why_not_genai(source.captured, {each.name for each in lowered.graph.input})
        with write_directory(options.output, MODEL_NAME) as output:
            if why_not is None:
                output.write(GENAI_CONFIG, _json(genai_config(source, MODEL_NAME)))
            opset = _write(output, source, lowered, options, element, progress)
    size = sum(path.stat().st_size for path in options.output.rglob("*") if path.is_file())
    return {
        "model": {
            "family": source.facts.family,
            "parameters": source.parameters,
            "layers": source.facts.layers,
            "vocabulary": source.facts.vocabulary,
        },
        "attention": options.attention.value,
        "dtype": element.value,
        "opset": opset,
        "quantization": options.quantization.value,
        "notes": [*source.notes, *([] if why_not is None else [_without_genai(why_not)])],
        "artifact": {"path": str(options.output), "bytes": size},
        "seconds": round(perf_counter() - start, 3),
    }


def _write(
    output: OutputDirectory,
    source: ModelSource,
    lowered: LoweredModel,
    options: CompileOptions,
    element: OnnxElement,
    progress: Progress,
) -> int:
    """Write every file; the version of the operators."""
    checkpoint = source.checkpoint
    assert checkpoint is not None, "an export has a checkpoint"
    for path in checkpoint.copied_files():
        output.copy(path.relative_to(checkpoint.directory).as_posix(), path)
    output.write(CONFIG_FILE, _json(source.raw))
    total = sum(tensor.spec.nbytes for tensor in lowered.weights)
    specs = [tensor.spec for tensor in lowered.weights]
    with (
        open_weights(source, options, progress) as weights,
        progress.stage("writing weights", total, unit="B") as advance,
        output.tensors(WEIGHTS_NAME, specs) as file,
    ):
        for tensor in lowered.weights:
            for piece in tensor.pieces(weights.source):
                file.write(tensor.spec.name, piece)
                advance(piece.nbytes)
    with progress.stage("hashing the checkpoint", checkpoint.nbytes, unit="B") as advance:
        digest = checkpoint.digest(advance)
    model = onnx_model(
        lowered,
        WEIGHTS_NAME,
        output.places(WEIGHTS_NAME),
        version=version("sala-compile"),
        description=DESCRIPTION,
        metadata=_metadata(source, lowered, options, element, digest),
    )
    output.write(MODEL_NAME, model.SerializeToString(deterministic=True))
    return model.opset_import[0].version


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def _without_genai(why_not: str) -> str:
    return f"no {GENAI_CONFIG}, since onnxruntime-genai cannot run the model: {why_not}"


DESCRIPTION = """\
input_ids [batch, sequence]: new tokens. attention_mask [batch, past + sequence]: 1 for a token, \
0 for padding, which may be anywhere. past_key_values.N.*: present.N.* of the call before, or an \
empty past and states of zeros. call_lengths [batch], where there is such an input: the length \
that a sequence has when its whole call is done, so that a prompt in pieces takes the attention \
path of the whole prompt; 0 if it ends with these tokens."""


def _metadata(
    source: ModelSource,
    lowered: LoweredModel,
    options: CompileOptions,
    element: OnnxElement,
    digest: str,
) -> Mapping[str, str]:
    config = json.dumps(source.raw, sort_keys=True, separators=(",", ":"))
    return {
        "sala.family": source.facts.family,
        "sala.attention": options.attention.value,
        "sala.dtype": element.value,
        "sala.checkpoint_sha256": digest,
        "sala.config": config,
        "sala.config_sha256": hashlib.sha256(config.encode()).hexdigest(),
        **({"sala.integers": json.dumps(lowered.integers)} if lowered.integers else {}),
        "sala.versions": json.dumps({name: version(name) for name in ("sala-compile", "onnx")}),
    }
