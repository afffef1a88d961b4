"""Convert a pre-trained Transformer to a hybrid of linear and softmax attention.

    python -m examples.halo convert --teacher DIR|FILE.gguf --student FAMILY --work DIR
    python -m examples.halo report DIR

`convert` continues where it was stopped; `report` writes DIR/report. See examples/halo/README.md.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from examples.halo.options import ConvertOptions, Precision, Score
from examples.halo.student_config import StudentFamily
from sala_compile.runtime.errors import reported_as

_UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command of the command line."""
    parsed = _parser().parse_args(arguments)
    with reported_as("examples.halo"):
        if parsed.command == "convert":
            _convert(parsed)
        else:
            from examples.halo.report.page import write_report

            sizes = {"lengths": parsed.lengths, "contexts": parsed.contexts}
            print(write_report(parsed.work, measure=not parsed.curves_only, **sizes))


def _convert(parsed: argparse.Namespace) -> None:
    from examples.halo.pipeline import convert
    from examples.halo.training.stage_training import OutOfTime

    given = {name: value for name, value in vars(parsed).items() if name != "command"}
    options = ConvertOptions(**given)
    try:
        student = convert(options, _Progress())
    except OutOfTime:
        print(f"the {options.minutes:g} minutes are over: the same command continues")
        return
    print(f"{student}: compile it with sala-compile {student} -o NAME.sala")


class _Progress:
    """Prints where a stage stands, at most once in `seconds`, and at its end."""

    def __init__(self, seconds: float = 10.0) -> None:
        self._seconds, self._printed = seconds, float("-inf")

    def __call__(self, stage: str, line: dict[str, Any], steps: int, left: float) -> None:
        step, now = line["step"], time.monotonic()
        if now - self._printed < self._seconds and step < steps:
            return
        self._printed = now
        values = ("error", "median", "divergence", "loss")
        shown = ", ".join(f"{name} {line[name]:.4f}" for name in values if name in line)
        if line.get("seconds"):
            shown += f", {line['tokens'] / line['seconds']:,.0f} tokens/s"
        rest = "" if left != left else f", {_duration(left)} left"
        print(f"{stage} {step}/{steps}{': ' if shown else ''}{shown}{rest}", flush=True)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes else f"{seconds:.0f} s"


def count(text: str) -> int:
    """A number of tokens as people write it: 512, 20M, 1.5B (thousands are 1000)."""
    unit = _UNITS.get(text[-1:].upper(), 1)
    digits = text[:-1] if unit > 1 else text
    try:
        return round(float(digits) * unit)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number such as 512, 20M or 1B") from None


def _numbers(kind: type, count: int | None = None) -> Any:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            found = tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is no list of numbers") from None
        if count is not None and len(found) != count:
            raise argparse.ArgumentTypeError(f"{text} has {len(found)} numbers, not {count}")
        return found

    return parse


def _layers(text: str) -> tuple[int, ...] | None:
    return None if text == "auto" else _numbers(int)(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.halo", description=(__doc__ or "").partition("\n")[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    _add_convert(commands.add_parser("convert", help="train a student, or continue to"))
    report = commands.add_parser("report", help="write the page with pictures")
    report.add_argument("work", type=Path, help="the work folder of a conversion")
    report.add_argument(
        "--curves-only", action="store_true", help="compile and measure nothing: curves alone"
    )
    for name, default, help in (
        ("--lengths", "512,1024,2048,4096,8192", "tokens of the texts of recall"),
        ("--contexts", "4096,32768,131072", "tokens before those that are timed"),
    ):
        kind = _numbers(int)
        report.add_argument(name, type=kind, default=kind(default), help=f"{help} ({default})")
    return parser


def _add_convert(parser: argparse.ArgumentParser) -> None:
    fields = ConvertOptions.__dataclass_fields__

    def add(name: str, help: str, **how: Any) -> None:
        default = fields[name].default
        is_given = how.get("required") or how.get("action") == "store_false"
        if not is_given:
            how["default"] = default
            help = f"{help} (default: {_shown(name, default)})"
        parser.add_argument(f"--{name.replace('_', '-')}", help=help, **how)

    add("teacher", "a Hugging Face directory or a GGUF file", type=Path, required=True)
    add("student", "the family to convert to", type=StudentFamily, required=True)
    add("work", "folder of everything that is written", type=Path, required=True)
    add("data", "files or folders of text, .npy files of token ids", type=Path, nargs="*")
    add("tokens", "tokens of training in all", type=count, metavar="N")
    add("layers", "layers that stay attention: auto, or such as 1,5,9", type=_layers)
    add("keep_ratio", "share of the layers that stay attention with auto", type=float)
    add("score", "how auto chooses: recall or divergence", type=Score)
    add("seed", "of everything random", type=int)
    add("length", "tokens of a text of stages 1 to 3", type=count)
    add("long_length", "tokens of a text of stage 4", type=count)
    add("batch", "texts that are computed at once", type=int)
    add("parts", "batches of which a step adds the gradients", type=int)
    add("passes", "how often stage 1 reads each of its texts", type=int)
    add("split", "shares of tokens of stages 1, 3 and 4", type=_numbers(float, 3))
    add("rates", "first learning rates of stages 1, 3 and 4", type=_numbers(float, 3))
    add("sample_tokens", "tokens that the teacher writes without --data", type=count)
    add("precision", "float32, mixed or bfloat16", type=Precision)
    add("device", "cpu or cuda", type=str)
    add("threads", "threads of the CPU", type=int)
    add("minutes", "stop after so many minutes; the same command continues", type=float)
    add("save_seconds", "seconds between checkpoints", type=float)
    parser.add_argument(
        "--keep-activations",
        dest="recompute",
        action="store_false",
        help="keep what layers compute for the backward pass: faster, and more memory",
    )


def _shown(name: str, value: object) -> str:
    if name == "layers":
        return "auto"
    if value is None or value == ():
        return "none"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


if __name__ == "__main__":
    main()
