"""A picture of the arena over the steps: every buffer a rectangle."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sala_compile.runtime.artifact.program import PhaseName, Program, TargetProgram, ValueKind
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.plan import ArenaBuffer, MemoryPlan, memory_sentence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STREAM = "hidden"
"""The value that crosses from the last layer to the logits; others of its size are its past."""
RESIDUAL, WORKSPACE = "residual stream", "workspace"
ENLARGED = 4
"""Decode is drawn again where its buffers take less than this fraction of the arena."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring steps of one layer and phase."""

    phase: PhaseName
    layer: int | None
    first: int
    last: int


class ArenaPicture:
    """The arena of a plan: steps from left to right, offsets from the bottom up."""

    def __init__(self, program: Program, target: str, plan: MemoryPlan, name: str) -> None:
        """Nothing is drawn yet; `name` is the artifact's."""
        from matplotlib import colormaps

        self._plan, self._name = plan, name
        self._runs = list(_runs(program.targets[target]))
        self._buffers = [buffer for buffer in plan.packing.buffers if buffer.size]
        self._kinds = {buffer.name: _kind(program, buffer.name) for buffer in self._buffers}
        kinds = sorted(set(self._kinds.values()))
        colours = colormaps["tab20"]
        self._colours = {kind: colours(at % colours.N) for at, kind in enumerate(kinds)}
        self._hints: dict[str, str] = {}

    def figure(self) -> "tuple[Figure, dict[str, str]]":
        """The arena, below it how much lives at each step, and decode again where it is small."""
        from matplotlib.figure import Figure

        decode = self._decode()
        heights = [46, 9, *([24] if decode else [])]
        figure = Figure(figsize=(16, sum(heights) / 10 + 1.5), layout="constrained")
        arena, live, *enlarged = figure.subplots(len(heights), height_ratios=heights, squeeze=True)
        packing = self._plan.packing
        excess = packing.total / packing.lower_bound - 1 if packing.lower_bound else 0.0
        figure.suptitle(
            f"The arena of {self._name}, step by step\n{format_bytes(packing.total)}, {excess:.1%} "
            f"above the most that lives at once; chunk {self._plan.sizes.chunk}, "
            f"{self._plan.sizes.workers} threads\nAll memory: {memory_sentence(self._plan)}"
        )
        steps = self._runs[-1].last + 1 if self._runs else 1
        self._draw(arena, 0, steps, 0, max(packing.total, 1))
        self._draw_live(live, steps)
        for axes in enlarged:
            self._draw(axes, *decode)
            axes.set_title("decode, enlarged", loc="left", pad=22)
        handles = [arena.bar(0, 0, color=colour) for colour in self._colours.values()]
        figure.legend(handles, self._colours, loc="outside lower center", ncols=8)
        return figure, self._hints

    def _decode(self) -> tuple[int, int, int, int] | tuple[()]:
        """First step, end and range of offsets of decode's own buffers, if they are few bytes."""
        phases = [run for run in self._runs if run.phase is PhaseName.DECODE]
        if not phases or not phases[0].first:
            return ()
        first, end = phases[0].first, phases[-1].last + 1
        own = [each for each in self._buffers if first <= each.first <= each.last < end]
        offsets = self._plan.packing.offsets
        low = min((offsets[each.name] for each in own), default=0)
        high = max((offsets[each.name] + each.size for each in own), default=0)
        if not own or high - low > self._plan.packing.total / ENLARGED:
            return ()
        return first, end, low, high

    def _draw(self, axes: "Axes", first: int, end: int, low: int, high: int) -> None:
        unit, name = (1 << 20, "MiB") if high - low >= 2 << 20 else (1 << 10, "KiB")
        axes.set(xlim=(first, end), ylim=(low / unit, high / unit), ylabel=name)
        self._draw_layers(axes, first, end)
        for index, buffer in enumerate(self._buffers):
            if buffer.first < end and buffer.last >= first:
                self._draw_buffer(axes, f"buffer-{index}-{first}", buffer, unit)

    def _draw_layers(self, axes: "Axes", first: int, end: int) -> None:
        """Bands for the layers, their numbers below, and the phases above."""
        runs = [run for run in self._runs if first <= run.first < end]
        layers = [run for run in runs if run.layer is not None]
        for run in layers[::2]:
            axes.axvspan(run.first, run.last + 1, color="0.95", zorder=0)
        middles = [(run.first + run.last + 1) / 2 for run in layers]
        axes.set_xticks(middles, [str(run.layer) for run in layers], fontsize="x-small")
        axes.set_xlabel("layer of the step")
        phases: dict[PhaseName, list[_Run]] = {}
        for run in runs:
            phases.setdefault(run.phase, []).append(run)
        marks = axes.secondary_xaxis("top")
        marks.set_xticks(
            [own[0].first for own in phases.values()],
            [f"{name}, {own[-1].last - own[0].first + 1} steps" for name, own in phases.items()],
            ha="left",
        )

    def _draw_buffer(self, axes: "Axes", gid: str, buffer: ArenaBuffer, unit: int) -> None:
        from matplotlib.patches import Rectangle

        kind, offset = self._kinds[buffer.name], self._plan.packing.offsets[buffer.name]
        size = buffer.last + 1 - buffer.first, buffer.size / unit
        shape = Rectangle(
            (buffer.first, offset / unit),
            *size,
            facecolor=self._colours[kind],
            edgecolor="white",
            linewidth=0.4,
            gid=gid,
        )
        axes.add_patch(shape)
        self._hints[gid] = (
            f"{buffer.name}\n{kind}, {format_bytes(buffer.size)} ({buffer.size} bytes)\n"
            f"offset {offset}, steps {buffer.first} to {buffer.last}"
        )

    def _draw_live(self, axes: "Axes", steps: int) -> None:
        """The sum of what lives at each step."""
        sums = [0] * steps
        for buffer in self._buffers:
            for step in range(buffer.first, buffer.last + 1):
                sums[step] += buffer.size
        axes.stairs([size / 2**20 for size in sums], fill=True, color="0.6")
        axes.set(xlim=(0, steps), ylabel="MiB", xticks=[])
        axes.set_title("bytes that live at each step", loc="left", fontsize="medium")


def _runs(target: TargetProgram) -> Iterator[_Run]:
    start = 0
    for phase in PhaseName:
        steps = target.phases[phase].steps if phase in target.phases else ()
        first = 0
        for index in range(1, len(steps) + 1):
            if index == len(steps) or steps[index].layer != steps[first].layer:
                yield _Run(phase, steps[first].layer, start + first, start + index - 1)
                first = index
        start += len(steps)


def _kind(program: Program, name: str) -> str:
    """The family of the kernel that makes a value, or what the value is for."""
    value, stream = program.values[name], program.values.get(STREAM)
    if value.kind is ValueKind.WORKSPACE:
        return WORKSPACE
    family = next(
        part for part in reversed(name.replace("/", ".").split(".")) if not part.isdigit()
    )
    in_stream = stream and (value.dtype, value.shape[1:]) == (stream.dtype, stream.shape[1:])
    adds = name == STREAM or family.startswith(("linear", "embedding", "residual_add"))
    return RESIDUAL if in_stream and adds else family
