"""All stages in order; what is done is not done again."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from safetensors.torch import save_file

from examples.halo.conversion import Conversion, Report, load_weights
from examples.halo.data.debian_texts import debian_texts
from examples.halo.data.teacher_samples import STAGE as SAMPLES
from examples.halo.data.teacher_samples import sampled_texts
from examples.halo.data.token_texts import TokenTexts, read_tokens
from examples.halo.options import ConvertOptions
from examples.halo.report.stage_results import StageResults
from examples.halo.stages.alignment import align
from examples.halo.stages.distillation import TUNED, assemble, distil, tune
from examples.halo.stages.selection import chosen_layers, select_layers
from examples.halo.stages.weight_transfer import WEIGHTS, transfer_weights
from examples.halo.teacher import Teacher, copy_texts, read_teacher
from examples.halo.training.stage_training import Clock
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer
from sala_compile.sala_ir.checkpoint.checkpoint import WEIGHTS_FILE
from sala_compile.sala_ir.frontends import CONFIG_FILE, read_config

STUDENT = "student"


def convert(options: ConvertOptions, report: Report) -> Path:
    """Run what is left of a conversion; the directory of the student, which `sala-compile` takes.

    Raises OutOfTime where the minutes of the options end first: the same call continues. Other
    errors are those of files and options.
    """
    options.check()
    options.work.mkdir(parents=True, exist_ok=True)
    options.keep()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    clock = Clock(options.minutes)
    source = read_teacher(options.teacher, options.work)
    _check_layers(options, source)
    texts, held_out = _texts(options, source, clock, report).split()
    conversion = Conversion(options, source, texts, held_out, clock, report)
    teacher = conversion.teacher()
    transfer_weights(conversion, teacher)
    align(conversion, teacher)
    select_layers(conversion, teacher)
    assemble(conversion, teacher)
    distil(conversion, teacher)
    tune(conversion, teacher)
    return write_student(conversion)


def write_student(conversion: Conversion) -> Path:
    """Write the student of the last stage as a Hugging Face directory; it appears whole."""
    place = conversion.folder(STUDENT)
    if place.is_dir():
        return place
    config = {**conversion.config(chosen_layers(conversion)), "dtype": "bfloat16"}
    weights = load_weights(conversion.folder(TUNED) / WEIGHTS)
    with TemporaryDirectory(dir=conversion.options.work, prefix="student-") as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        copy_texts(conversion.source.directory, whole)
        text = json.dumps(config, indent=2) + "\n"
        (whole / CONFIG_FILE).write_text(text, encoding="utf-8")
        rounded = {name: x.bfloat16().contiguous() for name, x in weights.items()}
        save_file(rounded, whole / WEIGHTS_FILE, metadata={"format": "pt"})
        whole.replace(place)
    return place


def _check_layers(options: ConvertOptions, source: Teacher) -> None:
    wrong = [layer for layer in options.layers or () if not 0 <= layer < source.layers]
    if wrong:
        raise RequestError(
            f"there is no layer {wrong[0]}",
            where="--layers",
            expected=f"layers of the teacher, 0 to {source.layers - 1}",
        )


def prepared_texts(results: StageResults) -> tuple[Path, TokenTexts]:
    """The directory of the teacher and the texts of a finished conversion, as they were read."""
    options, work = results.options, results.work
    unpacked = work / "teacher"
    directory = unpacked if unpacked.is_dir() else Path(options["teacher"])
    data = tuple(Path(path) for path in options["data"])
    samples = () if data else tuple(sorted((work / SAMPLES).glob("*.npy")))
    return directory, _read(directory, data, samples, work)


def _texts(options: ConvertOptions, source: Teacher, clock: Clock, report: Report) -> TokenTexts:
    samples = () if options.data else sampled_texts(options, source, clock, report)
    return _read(source.directory, options.data, samples, options.work)


def _read(
    directory: Path, data: tuple[Path, ...], samples: tuple[Path, ...], work: Path
) -> TokenTexts:
    """Texts of the user, or those of Debian's packages and the teacher's own."""
    config = read_config(directory)
    paths = [*(data or debian_texts().values()), *samples]
    end = config.get("eos_token_id")
    first = end[0] if isinstance(end, Sequence) else end
    needs_tokenizer = any(path.suffix != ".npy" for path in paths)
    tokenizer = Tokenizer.from_files(directory) if needs_tokenizer else None
    return read_tokens(paths, tokenizer, first, work / "tokens", int(config["vocab_size"]))
