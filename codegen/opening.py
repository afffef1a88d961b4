"""Opens what is compiled: configuration, headers of the weights, the captured graph."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xdsl.dialects.builtin import ModuleOp, bf16, f32

from sala_compile.codegen.edited_graph import EditedGraph
from sala_compile.codegen.integer_activations import check_integers
from sala_compile.codegen.onnx_import.detect_onnx import is_onnx
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.plan import ModelSource
from sala_compile.codegen.texts import check_tokenizer, end_tokens, generation_notes
from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.support.quantization import (
    Quantization,
    TiedHead,
    calibrated_tensors,
    separate_head,
    store_as_integers,
    tied_tensor,
)
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.plan import length_note
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.checkpoint.gguf.detect import is_gguf
from sala_compile.sala_ir.checkpoint.mixed_integers import MixedIntegers
from sala_compile.sala_ir.checkpoint.quantized import FIELDS, PublishedIntegers, published_integers
from sala_compile.sala_ir.dialect.weight_storage import EncodingAttr
from sala_compile.sala_ir.frontends import CONFIG_FILE, frontend_for, read_config


def open_source(
    options: CompileOptions, stack: ExitStack, graph: EditedGraph | None = None
) -> ModelSource:
    """Read the configuration, the headers of the weights and the tokenizer; capture the graph.

    A `graph` takes the place of the captured one: its tensors are looked for, whatever else the
    checkpoint has.
    """
    if graph is not None and options.checkpoint is None:
        return _without_checkpoint(graph, options)
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
        checkpoint = checkpoint.renamed(frontend.other_names(config))
        checkpoint.check_copied()
        ends = end_tokens(folder, facts.end_tokens)
        rows, class_name = facts.vocabulary, raw.get("tokenizer_class")
        texts = check_tokenizer(folder, rows, class_name)
        tensors = frontend.expected_tensors(config) if graph is None else graph.tensors
        tied = frontend.tied_tensors(config)
        published, stored = _published(checkpoint, tensors, options)
        unread = set() if graph is None else set(frontend.expected_tensors(config)) - set(tensors)
        unread |= {name for name in checkpoint.tensors if frontend.is_unread(name, config)}
        _check_tensors(checkpoint, tensors, published, tied, unread)
        for name, numbers in frontend.implied_numbers(config).items():
            checkpoint.check_numbers(name, numbers)
        notes = (*checkpoint.notes, *texts, *stored, *generation_notes(folder))
    else:
        config = frontend.parse_config(raw, file=str(place))
        facts = frontend.facts(config)
        tensors = frontend.expected_tensors(config)
    too_long = length_note(options.context, facts.trained_length)
    unused = frontend.config_notes(raw, config, place.name)
    notes = (*unused, *notes, *([too_long] if too_long else ()))
    check_integers(options, published is not None)
    if graph is not None:
        _check_encodings(graph, published, options)
        return ModelSource(
            raw,
            facts if graph.header.facts is None else graph.header.facts,
            tensors,
            graph.module,
            checkpoint,
            graph.integers,
            published,
            facts.end_tokens if ends is None else ends,
            notes,
            graph.header,
        )
    captured = frontend.build_module(config, options.attention)
    integers = _integers(captured, options, published)
    _separate_head(captured, options, published)
    store_as_integers(captured, integers)
    if options.checkpoint is not None and is_onnx(options.checkpoint):
        from sala_compile.codegen.onnx_import.same_graph import require_same_graph

        require_same_graph(options.checkpoint, captured, options.attention)
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


def _without_checkpoint(graph: EditedGraph, options: CompileOptions) -> ModelSource:
    """A graph whose weights are made from a seed, or that is only planned."""
    facts = graph.header.facts
    if facts is None:
        raise RequestError(
            "the graph says nothing of its model",
            where=f"{graph.path}: sala.model",
            expected="a graph of --dump-ir or of an artifact, with its attributes",
            fix="add --weights DIR with the checkpoint of the model",
        )
    too_long = length_note(options.context, facts.trained_length)
    return ModelSource(
        {"graph": graph.path.name, "family": facts.family},
        facts,
        graph.tensors,
        graph.module,
        None,
        graph.integers,
        end_tokens=facts.end_tokens,
        notes=(too_long,) if too_long else (),
        graph=graph.header,
    )


def _check_encodings(
    graph: EditedGraph, published: PublishedIntegers | None, options: CompileOptions
) -> None:
    """Refuse integers that neither the checkpoint holds nor a calibration makes."""
    stored = {} if published is None else published.encodings
    for name, encoding in graph.integers.items():
        if stored.get(name, encoding) != encoding or not (name in stored or options.calibrates):
            held = stored[name].label if name in stored else "no integers"
            raise RequestError(
                f"the graph takes {name} as {encoding.label}, the checkpoint has {held}",
                where=f"{graph.path}: sala.weight @{name}",
                expected="integers that the checkpoint holds, or that --quantize makes",
                fix="add the --quantize that the graph was made with, or name its checkpoint",
            )


def _configuration(
    path: Path, stack: ExitStack
) -> tuple[Path, Mapping[str, Any], Checkpoint | None]:
    """Where the configuration is, what it holds, and the checkpoint where both are one file."""
    if is_onnx(path):
        from sala_compile.codegen.onnx_import.open_onnx import open_onnx

        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sala-onnx-")))
        checkpoint = stack.enter_context(open_onnx(path, folder))
        return path, checkpoint.config, checkpoint
    if not is_gguf(path):
        return path / CONFIG_FILE, read_config(path), None
    from sala_compile.sala_ir.checkpoint.gguf.open_gguf import open_gguf

    folder = Path(stack.enter_context(TemporaryDirectory(prefix="sala-gguf-")))
    checkpoint = stack.enter_context(open_gguf(path, folder))
    return path, checkpoint.config, checkpoint


def _published(
    checkpoint: Checkpoint, tensors: Mapping[str, tuple[int, ...]], options: CompileOptions
) -> tuple[PublishedIntegers | None, tuple[str, ...]]:
    """The weights that come as integers, and notes on how weights are stored."""
    if checkpoint.source is None:
        if options.requantization is not Quantization.NONE:
            raise RequestError(
                "the checkpoint is no GGUF file and no ONNX model",
                where=f"--requantize {options.requantization.value}",
                expected="a file with integers that no kernel reads",
                fix="leave it out; --quantize rounds a checkpoint of floats",
            )
        published = published_integers(checkpoint, tensors)
        return published, () if published is None else published.notes
    published = _mixed_integers(checkpoint, checkpoint.source, tensors)
    notes: tuple[str, ...] = ()
    if options.requantization is not Quantization.NONE:
        if not published.others:
            notes = ("--requantize: every tensor is taken as it is, nothing is rounded again",)
        published.round_others(options.requantization.encoding)
    elif published.others and options.dtype is Precision.FLOAT32:
        notes = (f"stored as float32, which holds their values: {published.others}",)
    else:
        published.refuse_others()
    return (published if published.encodings else None), notes


def _mixed_integers(
    checkpoint: Checkpoint, source: Path, tensors: Mapping[str, tuple[int, ...]]
) -> MixedIntegers:
    """The weights of integers in a file that holds the model, of either kind."""
    if is_onnx(source):
        from sala_compile.codegen.onnx_import.onnx_integers import OnnxIntegers

        return OnnxIntegers(checkpoint, tensors)
    from sala_compile.sala_ir.checkpoint.gguf.gguf_integers import GgufIntegers

    return GgufIntegers(checkpoint, tensors)


def _check_tensors(
    checkpoint: Checkpoint,
    tensors: Mapping[str, tuple[int, ...]],
    published: PublishedIntegers | None,
    tied: Mapping[str, str],
    unread: Collection[str] = (),
) -> None:
    """Refuse tensors that are missing, not the model's, or unlike those that they are tied to.

    Those in `unread` are the model's, but the graph does not read them.
    """
    copies = {name: twin for name, twin in tied.items() if name in checkpoint.tensors}
    copies = {name: twin for name, twin in copies.items() if {name, twin}.isdisjoint(unread)}
    if published is None:
        checkpoint.check(tensors, {*copies, *unread})
    else:
        plain = {name: shape for name, shape in tensors.items() if name not in published}
        checkpoint.check(plain, {*published.members, *copies, *unread})
    for name, twin in copies.items():
        checkpoint.check_equal(name, twin)


def _separate_head(
    captured: ModuleOp, options: CompileOptions, published: PublishedIntegers | None
) -> None:
    """Give a tied head a rounded copy of its own; integers of the file are read by both."""
    tied, choice = tied_tensor(captured), options.tied_head
    rounds = options.quantization is not Quantization.NONE
    if choice is TiedHead.INT8 and (tied is None or (published is None and not rounds)):
        raise RequestError(
            "the model is not quantised" if tied is not None else "the model has no tied head",
            where="--tied-head int8",
            expected="a quantised model whose head shares the embedding's matrix",
            fix="leave it out" if tied is None else "add --quantize",
        )
    if tied is None or choice is TiedHead.SHARED:
        return
    if published is not None and tied in published:
        return
    if rounds or choice is TiedHead.INT8:
        separate_head(captured, bf16 if options.dtype is Precision.BFLOAT16 else f32)


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
