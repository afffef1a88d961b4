"""Which kernel rules serve which operation, in the order in which they are tried."""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.runtime.common.json_text import quoted
from sala_compile.runtime.errors import CompileError

FAMILIES: dict[str, tuple[str, ...]] = {
    "sala.embedding": ("embedding", "embedding_integers"),
    "sala.ngram_embedding": ("ngram_embedding",),
    "sala.linear": ("linear", "linear_integers"),
    "sala.rms_norm": ("rms_norm",),
    "sala.layer_norm": ("layer_norm",),
    "sala.rope_table": ("rope_table",),
    "sala.rope": ("rope",),
    "sala.cast": ("cast",),
    "sala.output_gate": ("elementwise",),
    "sala.swiglu": ("elementwise",),
    "sala.silu": ("elementwise",),
    "sala.sigmoid": ("elementwise",),
    "sala.squared_relu": ("elementwise",),
    "sala.residual_add": ("elementwise",),
    "sala.connect_streams": ("connect_streams",),
    "sala.join_streams": ("join_streams",),
    "sala.spread_streams": ("spread_streams",),
    "sala.score_streams": ("score_streams",),
    "sala.lightning_attention": ("lightning_attention",),
    "sala.short_convolution": ("short_convolution",),
    "sala.pool_tokens": ("pool_tokens",),
    "sala.gated_delta": ("gated_recurrence",),
    "sala.state_space": ("gated_recurrence",),
    "sala.route": ("route",),
    "sala.expert_up": ("experts",),
    "sala.expert_down": ("experts",),
    "sala.append_kv": ("append_kv",),
    "sala.round_pages": ("round_pages",),
    "sala.keep_recent": ("keep_recent",),
    "sala.compress_keys": ("compress_keys", "compress_new_keys"),
    "sala.compress_new_keys": ("compress_new_keys",),
    "sala.select_blocks": ("select_blocks",),
    "sala.attend_blocks": ("attend_blocks",),
    "sala.select_pools": ("select_pools",),
    "sala.head_linear": ("head_linear",),
    "sala.attend_latents": ("attend_latents",),
    "sala.attend_pools": ("attend_pools",),
}
"""Operation name -> kernel folders, the preferred one first and the most general one last."""
NAMES = frozenset(name for names in FAMILIES.values() for name in names) | {"sample"}
"""All kernel folders; that of `sample` serves no operation of a model."""


def family(name: str, kind: str = "cpu") -> KernelFamily:
    """The kernels of the folder `name` for targets of `kind`; imported at the first request.

    CompileError for any other name: records name families, and nothing else is to be imported.
    """
    if name not in NAMES:
        raise CompileError(
            f"there is no family of kernels named {quoted(name)}",
            expected=f"one of {', '.join(sorted(NAMES))}",
            fix="use a record of this version of sala-compile",
        )
    place = _place(name, kind)
    in_folder = f"{place}.kernel"
    return import_module(in_folder if _exists(in_folder) else place).FAMILY


def families(op_name: str, kind: str = "cpu") -> tuple[KernelFamily, ...]:
    """The families that may serve an operation, in order; none for an unknown operation."""
    names = (name for name in FAMILIES.get(op_name, ()) if _exists(_place(name, kind)))
    return tuple(family(name, kind) for name in names)


def _place(name: str, kind: str) -> str:
    """The module `cpu` or `gpu` of a kernel folder, or the folder that has a module `kernel`."""
    return f"sala_compile.codegen.kernels.{name}.{kind}"


@cache
def _exists(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # what should be its folder is a module
        return False
