"""Mixers of released models as calls of their kernels, with the bytes and operations of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from tvm_ffi import from_dlpack

from benchmarks.kernels.linear_cases import aligned
from sala_compile.codegen.kernels.arguments import Argument, Role, present
from sala_compile.codegen.kernels.attend_latents import spec as latents
from sala_compile.codegen.kernels.attend_pools import spec as pools
from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.gated_recurrence import spec as recurrence
from sala_compile.codegen.kernels.gated_recurrence.spec import Rule
from sala_compile.codegen.kernels.lightning_attention import spec as lightning
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.select_pools import spec as indexer
from sala_compile.codegen.kernels.short_convolution import spec as convolution
from sala_compile.codegen.kernels.spec import KernelSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.layouts.padding import padded
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.runtime.artifact.batch_fields import PlainChunk, batch_arrays

F32, BF16 = Element.F32, Element.BF16
PAST, CHUNK, PAGE = 32 << 10, 512, 64
SELECTING = 16
"""Tokens that are read at a time where they choose from a long past: torch keeps all scores."""
STATES = 512 << 20
"""Bytes of the states that generated tokens take in turn, so that none is in a cache."""


@dataclass(frozen=True, slots=True)
class Mixer:
    """A mixer of one layer: its kernel, and what it costs.

    `state` are the bytes that a call reads and writes of it, `columns` the floats that it reads and
    writes of a token; `per_token` the operations of a token that is read, `per_past` those for each
    token of the past, of which a token reads `most` if that is not 0; `row` the bytes of one of the
    past. `shape` has the sizes for torch's form.
    One with a `chunk` reads so many tokens at a time, after a long past.
    """

    name: str
    kernel: str
    spec: KernelSpec
    state: int
    per_token: int
    shape: Mapping[str, int] = field(default_factory=dict[str, int])
    columns: int = 0
    per_past: int = 0
    row: int = 0
    element: Element = F32
    most: int = 0
    chunk: int = 0

    @property
    def family(self) -> KernelFamily:
        """The kernels of the folder."""
        return family(self.kernel)


@dataclass(frozen=True, slots=True)
class Case:
    """`tokens` new tokens of a sequence: one that is generated, or several that are read."""

    mixer: Mixer
    tokens: int

    @property
    def generated(self) -> bool:
        """Whether it is one token that is generated."""
        return self.tokens == 1

    @property
    def history(self) -> int:
        """Tokens before them: a long past for a generated one, none for most chunks."""
        return PAST if self.generated or self.mixer.chunk else 0

    @property
    def name(self) -> str:
        """How the table names the work."""
        return f"{self.mixer.name}, " + ("generate" if self.generated else f"read {self.tokens}")

    @property
    def operations(self) -> int:
        """Of all tokens and what each of them reads of the past."""
        lengths = range(self.history + 1, self.history + self.tokens + 1)
        pairs = sum(min(length, self.mixer.most or length) for length in lengths)
        return self.tokens * self.mixer.per_token + pairs * self.mixer.per_past

    @property
    def bytes(self) -> int:
        """Of the state, once, of the new tokens, and of the rows of the past."""
        new = 4 * self.tokens * self.mixer.columns
        length = self.history + self.tokens
        rows = min(length, self.tokens * (self.mixer.most or length))
        return self.mixer.state + new + rows * self.mixer.row


def _delta(name: str, heads: int, key_heads: int, size: int, **own: Any) -> Mixer:
    """A delta rule with keys and values of one size."""
    keys, values = key_heads * size, heads * size
    decays = values if own.get("channel_decay") else heads
    pitches = {"q": keys, "k": keys, "v": values, "decay": decays, "rate": heads}
    spec = recurrence.Spec(
        Rule.DELTA,
        *(heads, key_heads, size, size, size**-0.5),
        **{f"{n}_start": 0 for n in pitches},
        **{f"{n}_pitch": padded(count) for n, count in pitches.items()},
        out_element=F32,
        eps=1e-6,
        **own,
    )
    inside = 64 * 2 * size + 32 * size
    shape = {"heads": heads, "key_heads": key_heads, "size": size}
    return Mixer(
        name,
        "gated_recurrence",
        spec,
        2 * 4 * heads * size * size,
        heads * (6 * size * size + inside),
        shape,
        sum(pitches.values()) + values,
    )


def _space(name: str, heads: int, groups: int, state: int, size: int) -> Mixer:
    """Mamba-2."""
    keys, values = groups * state, heads * size
    pitches = {"q": keys, "k": keys, "v": values, "decay": heads}
    spec = recurrence.Spec(
        Rule.SUM,
        *(heads, groups, state, size, 1.0),
        **{f"{n}_start": 0 for n in pitches},
        **{f"{n}_pitch": padded(count) for n, count in pitches.items()},
        out_element=F32,
        skip=True,
    )
    inside = 32 * (state + size)
    shape = {"heads": heads, "groups": groups, "state": state, "size": size}
    cost = heads * (4 * state * size + inside)
    columns, state_bytes = sum(pitches.values()) + values, 2 * 4 * heads * state * size
    return Mixer(name, "gated_recurrence", spec, state_bytes, cost, shape, columns)


def _lightning(name: str, heads: int, size: int) -> Mixer:
    spec = lightning.Spec(
        num_heads=heads,
        kv_heads=heads,
        head_dim=size,
        scale=1.0,
        eps=0.0,
        slopes=tuple(float(2.0 ** (-8 * (h + 1) / heads)) for h in range(heads)),
        **{f"{n}_start": 0 for n in "qkv"},
        **{f"{n}_pitch": heads * size for n in "qkv"},
        norm=False,
        rope=False,
        out_element=F32,
    )
    cost = heads * (4 * size * size + 64 * 2 * size)
    shape, state = {"heads": heads, "size": size}, 2 * 4 * heads * size * size
    columns = 4 * heads * size
    return Mixer(name, "lightning_attention", spec, state, cost, shape, columns)


def _latent(name: str, heads: int, latent: int, rotary: int, key: int, value: int) -> Mixer:
    columns = heads * (key + rotary)
    spec = latents.Spec(
        *(heads, key, rotary, latent, (key + rotary) ** -0.5, PAGE, 1, BF16),
        *(0, padded(heads * latent), 0, padded(columns)),
        *(0, padded(latent), 0, padded(rotary)),
    )
    per_past = heads * (4 * latent + 2 * rotary)
    row = (latent + rotary) * BF16.bytes
    shape = {"heads": heads, "latent": latent, "rotary": rotary, "key": key, "value": value}
    new = columns + latent + rotary + heads * latent  # the latter of 16 bits, in and out
    return Mixer(name, "attend_latents", spec, 0, 0, shape, new, per_past, row, BF16)


def _selected(name: str, heads: int, kv_heads: int, size: int, pool: int, budget: int) -> Mixer:
    columns = heads * size
    spec = pools.Spec(
        *(heads, kv_heads, size, size**-0.5, pool, budget // pool, PAGE, BF16, BF16),
        *(0, columns, 0, columns),
    )
    shape = {"heads": heads, "kv_heads": kv_heads, "size": size, "budget": budget, "pool": pool}
    row, per_past = 2 * kv_heads * size * BF16.bytes, 4 * heads * size
    new = 5 * columns // 2  # queries and gates, and the output of 16 bits
    return Mixer(name, "attend_pools", spec, 0, 0, shape, new, per_past, row, BF16, budget)


def _indexer(name: str, heads: int, size: int, count: int) -> Mixer:
    """The choice of tokens by the keys of an indexer."""
    columns = heads * size
    views = (0, padded(columns), 0, padded(size), 0, padded(heads))
    spec = indexer.Spec(heads, size, size**-0.5, count, 1, PAGE, BF16, *views)
    new, shape = columns + size + heads + count, {"heads": heads, "size": size, "count": count}
    costs = (new, 2 * heads * size, BF16.bytes * size)
    return Mixer(name, "select_pools", spec, 0, 0, shape, *costs, BF16, chunk=SELECTING)


def _selected_latent(name: str, count: int, *sizes: int) -> Mixer:
    """Latent attention to `count` tokens."""
    plain = _latent(name, *sizes)
    assert isinstance(plain.spec, latents.Spec), "what it is made of"
    spec, shape = replace(plain.spec, count=count, pool=1), {**plain.shape, "pool": 1}
    return replace(plain, spec=spec, shape=shape, chunk=SELECTING, most=count)


def _convolution(name: str, columns: int, taps: int) -> Mixer:
    spec = convolution.Spec(columns, taps, False, 0, columns, F32)
    state, shape = 2 * 4 * (taps - 1) * columns, {"columns": columns, "taps": taps}
    return Mixer(name, "short_convolution", spec, state, 2 * taps * columns, shape, 2 * columns)


def mixers() -> tuple[Mixer, ...]:
    """One of each kind, in the shape of a released model."""
    return (
        _lightning("Lightning (MiniMax-Text-01, half)", 32, 128),
        _delta("gated delta (Qwen3-Next-80B-A3B)", 32, 16, 128),
        _delta("Kimi delta (Kimi-Linear-48B-A3B)", 32, 32, 128, channel_decay=True),
        _space("Mamba-2 (Nemotron-H-8B)", 128, 8, 128, 64),
        _latent("latent attention (MiniCPM3-4B)", 40, 256, 32, 64, 64),
        _latent("latent attention (Kimi-Linear-48B-A3B)", 32, 512, 64, 128, 128),
        _selected("indexed attention (Qwen3.8-Flash-Next)", 24, 2, 256, 4, 2048),
        _indexer("indexer (DeepSeek-V3.2)", 64, 128, 2048),
        _selected_latent("selected latent attention (DeepSeek-V3.2)", 2048, 128, 512, 64, 128, 128),
        _convolution("convolution (Qwen3-Next-80B-A3B)", 8192, 4),
    )


def call(case: Case, module: Any, target: CpuTarget, threads: int) -> Callable[[], object]:
    """The call of the kernel of a case over arrays of its own, each time with another state."""
    mixer = case.mixer
    schedule = mixer.family.default_schedule(mixer.spec, target)
    declared = present(mixer.family.arguments(mixer.spec, schedule))
    arrays = list(_arrays(case, declared, threads))
    given, function = [from_dlpack(array) for array in arrays], module[mixer.spec.symbol]
    names = [each.name for each in declared]
    slots = arrays[names.index("slots")]
    kept = [a for a, each in zip(arrays, declared, strict=True) if each.role is Role.STATE]
    count = 1 if mixer.row else len(kept[0])

    def run() -> object:
        slots[0] = (slots[0] + 1) % count
        return function(*given)

    return run


def _arrays(case: Case, declared: tuple[Argument, ...], threads: int) -> Iterator[np.ndarray]:
    length, random = case.history + case.tokens, np.random.default_rng(0)
    chunk = PlainChunk(np.zeros(case.tokens, np.int32), case.history, length, 0, case.generated, -1)
    fields = {name.value: array for name, array in batch_arrays([chunk]).items()}
    fields["control"] = np.array([case.tokens, 1, 0, threads, *[0] * 12], np.int32)
    pages = -(-length // PAGE)
    fields["page_table"] = random.permutation(pages)[None, :].astype(np.int32)
    for each in declared:
        if each.role in (Role.CONTROL, Role.BATCH):
            array = aligned(fields[each.name].shape, "int32")
            array[...] = fields[each.name]
            yield array
            continue
        states = max(1, STATES // case.mixer.state) if case.mixer.state else pages
        rows = {Role.WORKSPACE: threads, Role.STATE: states}
        count = rows.get(each.role, case.tokens)
        shape = [pages if d == "pages" else count if isinstance(d, str) else d for d in each.shape]
        array = aligned(shape, each.dtype)
        if each.name == "selection" and each.role is Role.INPUT:
            _choose(case, array, random)
        elif each.role in (Role.INPUT, Role.STATE):
            drawn = random.standard_normal(array.shape[1:], np.float32)
            array[...] = (drawn.view(np.uint32) >> 16) if each.dtype == "uint16" else drawn
        yield array


def _choose(case: Case, selection: np.ndarray, random: np.random.Generator) -> None:
    """Random pools for every token: as many as the budget has, or all that are complete."""
    selection[...] = -1
    for row, length in enumerate(range(case.history + 1, case.history + case.tokens + 1)):
        chosen = random.permutation(length // case.mixer.shape["pool"])[: selection.shape[1]]
        selection[row, : len(chosen)] = np.sort(chosen)
