"""What a picture of a model shows, taken from its program: layers, kernels, states, their sizes."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from sala_compile.runtime.artifact import KernelInfo, PhaseName, Program, Step, ValueKind
from sala_compile.runtime.artifact.reader import Artifact
from sala_compile.runtime.artifact.state_pools import Pool
from sala_compile.runtime.common.units import format_bytes

MIXERS: Mapping[str, str] = {
    "select_blocks": "sparse attention",
    "select_pools": "selected attention",
    "lightning_attention": "lightning attention",
    "gated_recurrence": "gated recurrence",
    "attend_blocks": "softmax attention",
    "attend_latents": "latent attention",
    "attend_pools": "indexed attention",
}
"""Kernel family -> the kind of a layer that has it, or of a part of the layer."""
OTHER = "Layer"
TIMES, TO = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
_LAYER = re.compile(r"^(.*\.)?layers\.\d+\.")
_BYTES = {"float64": 8, "int64": 8, "float32": 4, "int32": 4, "int8": 1, "uint8": 1}


@dataclass(frozen=True, slots=True)
class OutlineState:
    """A state of a layer: bytes of a token (`per_token`), or of a whole sequence."""

    kind: str
    element: str
    shape: str
    nbytes: float
    per_token: bool

    @property
    def size(self) -> str:
        """`512 B a token`."""
        return f"{format_bytes(self.nbytes)} {'a token' if self.per_token else 'a sequence'}"


@dataclass(frozen=True, slots=True)
class OutlineKernel:
    """One kernel call: what it computes, the weights that it reads, the states that it uses."""

    family: str
    symbol: str = field(compare=False)
    shape: str
    weights: tuple[str, ...]
    stored: str
    weight_bytes: int
    fused: tuple[str, ...]
    states: tuple[str, ...]

    @property
    def title(self) -> str:
        """The family in words: `rms norm`."""
        return self.family.replace("_", " ")

    @property
    def sentence(self) -> str:
        """What it computes: `linear x 0.5 + residual`."""
        first = next((each for each in self.fused if each.startswith(TIMES)), "")
        others = [each for each in self.fused if each != first]
        return " + ".join((f"{self.title} {first}".rstrip(), *others))


@dataclass(frozen=True, slots=True)
class LayerKind:
    """Layers that are alike: their numbers, their kernels, and the states of each."""

    title: str
    kernels: tuple[OutlineKernel, ...]
    states: tuple[OutlineState, ...]
    layers: list[int] = field(default_factory=list[int])

    @property
    def numbers(self) -> str:
        """The numbers of the layers, neighbours as a span."""
        parts: list[list[int]] = []
        for layer in self.layers:
            if parts and parts[-1][-1] == layer - 1:
                parts[-1].append(layer)
            else:
                parts.append([layer])
        spans = [f"{p[0]}{TO}{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts]
        return f"layer{'s' * (len(self.layers) > 1)} {', '.join(spans)}"

    @property
    def weight_bytes(self) -> int:
        """Weights of one layer."""
        return sum(kernel.weight_bytes for kernel in self.kernels)


@dataclass(frozen=True, slots=True)
class Outline:
    """A model from its tokens to its logits; `order` has the kind of every layer."""

    name: str
    facts: tuple[tuple[str, str], ...]
    before: tuple[OutlineKernel, ...]
    kinds: tuple[LayerKind, ...]
    order: tuple[int, ...]
    after: tuple[OutlineKernel, ...]

    @property
    def runs(self) -> Sequence[tuple[int, int, int]]:
        """Neighbouring layers of one kind: (kind, first, last)."""
        found: list[tuple[int, int, int]] = []
        for layer, kind in enumerate(self.order):
            if found and found[-1][0] == kind:
                found[-1] = (kind, found[-1][1], layer)
            else:
                found.append((kind, layer, layer))
        return found


def outline_of(artifact: Artifact, target: str) -> Outline:
    """The outline of a target's prefill step and of its logits."""
    program, phases = artifact.program, artifact.program.targets[target].phases
    reader = _Reader(artifact, target)
    prefill = phases[PhaseName.PREFILL].steps
    layers = sorted({step.layer for step in prefill if step.layer is not None})
    kinds: list[LayerKind] = []
    order: list[int] = []
    for layer in layers:
        kernels = tuple(reader.kernel(step) for step in prefill if step.layer == layer)
        states = tuple(sorted(_states(program, layer), key=lambda state: -state.nbytes))
        known = next((k for k in kinds if (k.kernels, k.states) == (kernels, states)), None)
        if known is None:
            known = LayerKind(mixers_of({kernel.family for kernel in kernels}), kernels, states)
            kinds.append(known)
        known.layers.append(layer)
        order.append(kinds.index(known))
    return Outline(
        artifact.directory.name,
        tuple(_facts(artifact, target, kinds).items()),
        tuple(reader.kernel(step) for step in prefill if step.layer is None),
        tuple(kinds),
        tuple(order),
        tuple(reader.kernel(step) for step in phases[PhaseName.LOGITS].steps),
    )


def mixers_of(families: Collection[str]) -> str:
    """What a layer with these families of kernels is called."""
    chosen = {*families} - ({"attend_blocks"} if "select_blocks" in families else set())
    found = " and ".join(title for family, title in MIXERS.items() if family in chosen)
    return found.capitalize() or OTHER


def _facts(artifact: Artifact, target: str, kinds: Sequence[LayerKind]) -> dict[str, str]:
    """What stands at the top: model, weights, what a sequence takes."""
    manifest = artifact.manifest
    token = sum(s.nbytes * len(k.layers) for k in kinds for s in k.states if s.per_token)
    fixed = sum(s.nbytes * len(k.layers) for k in kinds for s in k.states if not s.per_token)
    layers = sum(len(kind.layers) for kind in kinds)
    return {
        "model": f"{manifest.model.family}, {layers} layers",
        "vocabulary": f"{manifest.model.vocabulary:,} tokens",
        "weights": f"{format_bytes(artifact.weight_bytes_of(target))}, {manifest.dtype}"
        + (f", {manifest.quantization.scheme}" if manifest.quantization else ""),
        "state": " and ".join(
            f"{format_bytes(size)} a {unit}"
            for size, unit in ((token, "token"), (fixed, "sequence"))
            if size
        ),
        "attention": ", ".join(
            f"{path.name} from {path.first_length:,} tokens" if path.first_length else path.name
            for path in artifact.program.paths
        ),
        "target": target,
    }


class _Reader:
    """Reads the steps of a target."""

    def __init__(self, artifact: Artifact, target: str) -> None:
        self._artifact, self._program = artifact, artifact.program
        self._infos: dict[str, KernelInfo] = {
            info.symbol: info for info in artifact.manifest.kernels if info.target == target
        }
        self._pools = {
            value: pool.memory
            for pool in self._program.pools.values()
            for part in pool.parts
            for value in part.stored
        }

    def kernel(self, step: Step) -> OutlineKernel:
        """What a step computes."""
        info = self._infos.get(step.kernel)
        spec = {} if info is None else info.spec
        weights = [name for name in step.arguments if self._kind(name) is ValueKind.WEIGHT]
        pools = [name for name in step.arguments if self._kind(name) is ValueKind.POOL]
        return OutlineKernel(
            step.family,
            step.kernel,
            _shape(spec),
            tuple(dict.fromkeys(leaf for name in weights for leaf in _leaves(name))),
            ", ".join(dict.fromkeys(each for name in weights if (each := self._encoding(name)))),
            sum(self._artifact.weights[name][1].spec.nbytes for name in weights),
            tuple(_fused(spec)),
            tuple(dict.fromkeys(self._pools[name].replace("_", " ") for name in pools)),
        )

    def _kind(self, name: str) -> ValueKind:
        return self._program.values[name].kind

    def _encoding(self, name: str) -> str:
        tensors = self._artifact.manifest.tensors
        info = tensors.get(name) or tensors.get(name.rpartition(".")[0])
        if info is None:
            return ""
        return info.dtype if info.encoding == "plain" else info.encoding


def _shape(spec: Mapping[str, object]) -> str:
    """The sizes that a reader looks for: of a product, of heads, of blocks."""
    if "depth" in spec and "rows" in spec:
        rows = int(str(spec["rows"])) // (2 if spec.get("swiglu") is True else 1)
        return f"{spec['depth']} → {rows}"
    if "vocabulary" in spec:
        return f"{spec['vocabulary']} {TIMES} {spec['columns']}"
    heads = f"{spec['num_heads']} heads" if "num_heads" in spec else ""
    kv = f"{spec['kv_heads']} kv heads of {spec['head_dim']}" if "kv_heads" in spec else ""
    blocks = f"{spec['budget']} blocks of {spec['block_size']}" if spec.get("budget") else ""
    return ", ".join(filter(None, (heads, kv, blocks)))


def _fused(spec: Mapping[str, object]) -> Iterator[str]:
    """What a kernel computes besides what its family is named after."""
    scale = spec.get("scale", 1.0)
    if "depth" in spec and isinstance(scale, float) and scale != 1.0:
        yield f"{TIMES} {scale:.3g}"
    for name in ("bias", "norm", "rope", "swiglu"):
        if spec.get(name) is True:
            yield {"swiglu": "SwiGLU", "norm": "q and k norm"}.get(name, name)
    if spec.get("residual_pitch"):
        yield "residual"
    if spec.get("gate") is True or spec.get("gate_pitch"):
        yield "gate"


def _leaves(name: str) -> list[str]:
    """The tensors that a stored weight is made of, by the last part of their names."""
    plain = _LAYER.sub("", name)
    stem = re.split(r"\.(?:weight|bias)\b", plain)[0]
    return [part.rpartition(".")[2] for part in re.split(r"[+|]", stem)]


def _states(program: Program, layer: int) -> Iterator[OutlineState]:
    """The states of a layer."""
    for name, pool in program.pools.items():
        if name.startswith(f"layers.{layer}."):
            yield _state(program, pool)


def _state(program: Program, pool: Pool) -> OutlineState:
    size, element = 0, ""
    for part in pool.parts:
        value = program.values[next(iter(part.stored))]
        element = value.dtype.value
        lengths = [dim for dim in value.shape if isinstance(dim, int)]
        size += prod(lengths) * _BYTES.get(element, 2)
    tokens = 1 if pool.group is None else program.paging.groups[pool.group].tokens
    return OutlineState(
        pool.memory.replace("_", " "),
        "bfloat16" if element == "uint16" else element,
        ", ".join(TIMES.join(map(str, part.row)) for part in pool.parts),
        size / tokens,
        pool.group is not None,
    )
