"""Opens what is compiled: configuration, headers of the weights, the captured graph."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xdsl.dialects.builtin import ModuleOp

from sala_compile.codegen.integer_activations import check_integers
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.texts import check_tokenizer, end_tokens, generation_notes
from sala_compile.passes.support.quantization import (
    Quantization,
    calibrated_tensors,
    store_as_integers,
)
from sala_compile.runtime.errors import CheckpointError, RequestError
from sala_compile.runtime.plan import length_note
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.detect import is_gguf
from sala_compile.sala_ir.checkpoint.quantized import FIELDS, PublishedIntegers, published_integers
from sala_compile.sala_ir.dialect import EmbeddingOp, WeightOp
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.frontends import CONFIG_FILE, frontend_for, read_config


def open_source(options: CompileOptions, stack: ExitStack) -> ModelSource:
    """Read the configuration, the headers of the weights and the tokenizer; capture the graph."""
    checkpoint = None
    notes: tuple[str, ...] = ()
    if options.config_file is not None:
        place, raw = options.config_file, read_config(options.config_file)
    else:
        assert options.checkpoint is not None, "checked with the options"
        place, raw, checkpoint = _configuration(options.checkpoint, stack)
    frontend = frontend_for(raw, file=str(place))
    published, ends = None, None
    if options.checkpoint is not None:
        if checkpoint is None:
            checkpoint = stack.enter_context(Checkpoint.open(options.checkpoint))
        folder = checkpoint.directory
        plain = {name: value for name, value in raw.items() if name not in FIELDS}
        config = frontend.parse_config(plain, file=str(place))
        facts = frontend.facts(config)
        checkpoint.check_copied()
        ends = end_tokens(folder, facts.end_tokens)
        rows, class_name = facts.vocabulary, raw.get("tokenizer_class")
        texts = check_tokenizer(folder, rows, class_name)
        tensors = frontend.expected_tensors(config)
        published, stored = _published(checkpoint, tensors)
        _check_tensors(checkpoint, tensors, published, frontend.tied_tensors(config))
        notes = (*checkpoint.notes, *texts, *stored, *generation_notes(folder))
    else:
        config = frontend.parse_config(raw, file=str(place))
        facts = frontend.facts(config)
        tensors = frontend.expected_tensors(config)
    too_long = length_note(options.context, facts.trained_length)
    unused = frontend.config_notes(raw, config, place.name)
    notes = (*unused, *notes, *([too_long] if too_long else ()))
    check_integers(options, published is not None)
    captured = frontend.build_module(config, options.attention)
    integers = _integers(captured, options, published)
    _check_embeddings(captured, integers)
    store_as_integers(captured, integers)
    return ModelSource(
        raw,
        facts,
        tensors,
        captured,
        checkpoint,
        integers,
        published,
        facts.end_tokens if ends is None else ends,
        notes,
    )


def _configuration(
    path: Path, stack: ExitStack
) -> tuple[Path, Mapping[str, Any], Checkpoint | None]:
    """Where the configuration is, what it holds, and the checkpoint where both are one file."""
    if not is_gguf(path):
        return path / CONFIG_FILE, read_config(path), None
    from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="sala-gguf-")))
    checkpoint = stack.enter_context(open_gguf(path, folder))
    return path, checkpoint.config, checkpoint


def _published(
    checkpoint: Checkpoint, tensors: Mapping[str, tuple[int, ...]]
) -> tuple[PublishedIntegers | None, tuple[str, ...]]:
    """The weights that come as integers, and notes on how weights are stored."""
    if checkpoint.source is None:
        published = published_integers(checkpoint, tensors)
        return published, () if published is None else published.notes
    from sala_compile.sala_ir.checkpoint.gguf.exact_integers import exact_integers, widened_note

    published = exact_integers(checkpoint, tensors)
    return published, widened_note(checkpoint, published)


def _check_tensors(
    checkpoint: Checkpoint,
    tensors: Mapping[str, tuple[int, ...]],
    published: PublishedIntegers | None,
    tied: Mapping[str, str],
) -> None:
    """Refuse tensors that are missing, not the model's, or unlike those that they are tied to."""
    copies = {name: twin for name, twin in tied.items() if name in checkpoint.tensors}
    if published is None:
        checkpoint.check(tensors, copies)
    else:
        plain = {name: shape for name, shape in tensors.items() if name not in published}
        checkpoint.check(plain, {*published.members, *copies})
    for name, twin in copies.items():
        checkpoint.check_equal(name, twin)


def _check_embeddings(captured: ModuleOp, integers: Mapping[str, EncodingAttr]) -> None:
    """Refuse a matrix of integers whose rows are looked up: no kernel expands single rows."""
    lookups = (op.weight.owner for op in captured.walk() if isinstance(op, EmbeddingOp))
    names = (op.tensor_name.data for op in lookups if isinstance(op, WeightOp))
    for name in names:
        if name in integers:
            raise CheckpointError(
                f"{name} is the embedding, and stored as integers",
                where=name,
                expected="an embedding of bfloat16, float16 or float32",
                fix="use a checkpoint whose embedding is not quantised",
            )


def _integers(
    captured: ModuleOp, options: CompileOptions, published: PublishedIntegers | None
) -> Mapping[str, EncodingAttr]:
    """The tensors that come as integers: from the checkpoint, or by calibration."""
    if published is None:
        return calibrated_tensors(captured, options.quantization) if options.calibrates else {}
    if options.quantization is not Quantization.NONE:
        raise RequestError(
            f"the checkpoint is quantised already ({published.scheme})",
            where=f"--quantize {options.quantization.value}",
            fix="leave --quantize out, or name the unquantised checkpoint",
        )
    return published.encodings
