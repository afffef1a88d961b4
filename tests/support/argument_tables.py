"""The tables of arguments in the READMEs of kernels; run as a module it writes them.

A table has every argument that a family declares, with the sizes that the released model gives it;
one without sizes is what other specs of the family have.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from sala_compile.codegen.kernels.arguments import Argument, Arguments
from sala_compile.codegen.kernels.attend_latents import spec as attend_latents
from sala_compile.codegen.kernels.attend_pools import spec as attend_pools
from sala_compile.codegen.kernels.cast import spec as cast
from sala_compile.codegen.kernels.compress_new_keys import spec as compress_new_keys
from sala_compile.codegen.kernels.connect_streams import spec as connect_streams
from sala_compile.codegen.kernels.elementwise.spec import Function, Spec
from sala_compile.codegen.kernels.embedding_integers import spec as embedding_integers
from sala_compile.codegen.kernels.experts import spec as experts
from sala_compile.codegen.kernels.gated_recurrence import spec as gated_recurrence
from sala_compile.codegen.kernels.head_linear import spec as head_linear
from sala_compile.codegen.kernels.join_streams import spec as join_streams
from sala_compile.codegen.kernels.keep_recent import spec as keep_recent
from sala_compile.codegen.kernels.layer_norm import spec as layer_norm
from sala_compile.codegen.kernels.ngram_embedding import spec as ngram_embedding
from sala_compile.codegen.kernels.pool_tokens import spec as pool_tokens
from sala_compile.codegen.kernels.registry import NAMES, family
from sala_compile.codegen.kernels.rope import spec as rope
from sala_compile.codegen.kernels.round_pages import spec as round_pages
from sala_compile.codegen.kernels.route import spec as route
from sala_compile.codegen.kernels.score_streams import spec as score_streams
from sala_compile.codegen.kernels.select_pools import spec as select_pools
from sala_compile.codegen.kernels.short_convolution import spec as short_convolution
from sala_compile.codegen.kernels.spread_streams import spec as spread_streams
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.lowering import lower
from sala_compile.codegen.opening import open_source
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.program.sampling_steps import chosen_kernel, sampling_choice
from sala_compile.codegen.progress import Silent
from sala_compile.codegen.targets import parse_target
from sala_compile.passes.support.kernel_log import ChosenKernel
from sala_compile.passes.support.quantization import Quantization
from sala_compile.sala_ir.dialect.expert_kinds import ScoreFunction

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "codegen" / "kernels"
F32 = Element.F32
TARGETS = {"cpu": "cpu:x86-64-v4", "gpu": "cuda:sm_90"}
BEGIN = "## Arguments\n"
SWIGLU = Spec(Function.SWIGLU, 16384, 1.0, 0, 32768, 16384, 32768, F32, F32, Element.BF16)
UNROTATED = compress_new_keys.Spec(2, 64, 128, 16, Element.BF16, Element.BF16, 4096, 4608, 128)
ROUNDED = round_pages.Spec(2, 128, 128, Element.BF16, 4, 4, 128, 4096, 8704, 4352, 8704)
RECENT = keep_recent.Spec(2, 128, 128, Element.BF16, 4096, 8704, 4352, 8704)
Q6_K = embedding_integers.Spec(73448, 4096, 1.0, F32, 6, 16, super_block=256)
POOLS = pool_tokens.Spec(128, 8, 0, 256, True, 128, 256, F32)
CONNECT = connect_streams.Spec(4, 16384, 20, 1e-6, 1e-5, 0, 32, 0, 16384)
JOIN = join_streams.Spec(4, 4096, True, 0, 16384, 0, 32, F32)
SPREAD = spread_streams.Spec(4, 4096, 0, 4096, 0, 16384, 4, 32, 8, 32, F32)
CONVOLUTION = short_convolution.Spec(2048, 4, False, 0, 8192, F32)
DELTA = gated_recurrence.Spec(
    gated_recurrence.Rule.DELTA,
    *(32, 16, 128, 128, 128**-0.5),
    *(0, 2048, 0, 2048, 0, 4096, 8192, 8256, F32, 8224, 8256, 1e-6),
)
"""Of the shape of Qwen3-Next-80B-A3B."""
INDEXER = select_pools.Spec(
    *(64, 128, 128**-0.5, 2048, 1, 64, Element.BF16, 0, 8192, 0, 128, 0, 64),
)
"""Of the shape of DeepSeek-V3.2."""
LATENTS = attend_latents.Spec(
    *(40, 64, 32, 256, 96**-0.5, 64, 1, Element.BF16),
    *(0, 10240, 0, 3840, 0, 256, 256, 288),
)
SELECTED = attend_pools.Spec(
    *(16, 2, 256, 256**-0.5, 32, 64, 64, Element.BF16, Element.BF16),
    *(0, 4096, 0, 4096),
)
"""Of the heads of Qwen4-Exp, with a budget of 2048 tokens."""
NGRAMS = ngram_embedding.Spec(
    *(320_001_536, 128, (1, 1, 1), (20_000_003,) * 16, 0, Element.BF16, Element.BF16)
)
STREAMS = score_streams.Spec(4, 2048, 2048**-0.5, 1e-6, 0, 8192, 0, 8192)
"""Of the defaults of Qwen4-Exp."""
ABSORB = head_linear.Spec(40, 64, 256, 96, 0, 3840, F32, Element.BF16, Element.BF16)
"""Of the shape of MiniCPM3-4B."""
EXPERTS = experts.Spec(
    experts.Part.DOWN,
    *(512, 10, 512, 2048, 512, 2048, Element.BF16, F32, 0, 5120),
    **{"gates_pitch": 16, "residual_pitch": 2048, "bits": 4, "group": 128},
)
ROUTE = route.Spec(512, 10, ScoreFunction.SOFTMAX, False, 1, 1, True, 0.0, 1.0, 0, 512)
UNCALLED: Mapping[str, Mapping[str, Any]] = {
    "attend_latents": LATENTS.values,
    "attend_pools": SELECTED.values,
    "cast": cast.Spec(4096, 0, 4096, F32, Element.BF16).values,
    "compress_new_keys": UNROTATED.values,
    "connect_streams": CONNECT.values,
    "elementwise": SWIGLU.values,
    "embedding_integers": Q6_K.values,
    "experts": EXPERTS.values,
    "gated_recurrence": DELTA.values,
    "head_linear": ABSORB.values,
    "join_streams": JOIN.values,
    "keep_recent": RECENT.values,
    "layer_norm": layer_norm.Spec(128, 1e-6, 0, 128, F32, F32).values,
    "pool_tokens": POOLS.values,
    "ngram_embedding": NGRAMS.values,
    "rope": rope.Spec(4096, 128, 128, 0, 6144, F32, F32, norm=True, eps=1e-6).values,
    "round_pages": ROUNDED.values,
    "route": ROUTE.values,
    "score_streams": STREAMS.values,
    "select_pools": INDEXER.values,
    "short_convolution": CONVOLUTION.values,
    "spread_streams": SPREAD.values,
}
"""Constants for families that the released model does not call."""


@cache
def _chosen(target_name: str, quantization: Quantization) -> tuple[ChosenKernel, ...]:
    """The kernels of the released model."""
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=ROOT / "examples" / "released-config.json",
        dry_run=True,
        quantization=quantization,
    )
    target = parse_target(target_name)
    with ExitStack() as stack:
        source = open_source(options, stack)
        lowered = lower(source.captured, target.name, target, options, Silent())
    sampling = sampling_choice(target, source.facts.vocabulary)
    extra = () if sampling is None else (chosen_kernel(sampling),)
    return (*lowered.kernels, *extra)


@cache
def _arguments(name: str, kind: str) -> Arguments | None:
    """What the first kernel of a family that the released model calls declares, if it has one."""
    for quantization in (Quantization.NONE, Quantization.INT4_G128):
        for kernel in _chosen(TARGETS[kind], quantization):
            if kernel.family == name:
                return _declared(name, kind, kernel.spec)
    if name not in UNCALLED or kind not in {path.stem for path in (KERNELS / name).iterdir()}:
        return None
    return _declared(name, kind, UNCALLED[name])


def _declared(name: str, kind: str, values: Mapping[str, Any]) -> Arguments:
    chosen, target = family(name, kind), parse_target(TARGETS[kind])
    spec = chosen.spec.parse(values)
    return chosen.arguments(spec, chosen.default_schedule(spec, target))


def table(name: str) -> str:
    """The section of a README."""
    declared = {kind: _arguments(name, kind) for kind in TARGETS}
    columns = {kind: each for kind, each in declared.items() if each is not None}
    assert columns, f"no model calls {name}: name its constants in UNCALLED"
    lines = [
        BEGIN,
        f"| argument | what | {' | '.join(f'on a {kind.upper()}' for kind in columns)} |",
    ]
    lines.append("|---" * (2 + len(columns)) + "|")
    by_name = [{each.name: each for each in found} for found in columns.values()]
    for argument in dict.fromkeys(each for found in by_name for each in found):
        places = [found.get(argument) for found in by_name]
        what = next(each for each in places if each is not None)
        cells = " | ".join("" if each is None else _cell(each) for each in places)
        lines.append(f"| `{argument}` | {_what(what)} | {cells} |")
    return "\n".join(lines) + "\n"


def _what(argument: Argument) -> str:
    return f"{argument.role} `{argument.operand}`" if argument.operand else str(argument.role)


def _cell(argument: Argument) -> str:
    if not argument.present:
        return argument.element
    sizes = (str(size) if isinstance(size, int) else "n" for size in argument.shape)
    return f"{argument.element} {' x '.join(sizes)}"


def readmes() -> Iterator[tuple[str, Path]]:
    """Every family with its README."""
    for name in sorted(NAMES):
        yield name, KERNELS / name / "README.md"


def main() -> None:
    """Write the tables at the end of all READMEs."""
    for name, path in readmes():
        text = path.read_text(encoding="utf-8").partition(BEGIN)[0].rstrip() + "\n\n"
        path.write_text(text + table(name), encoding="utf-8")


if __name__ == "__main__":
    main()
