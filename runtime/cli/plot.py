"""A picture of the arena over the steps: every buffer a rectangle, as SVG."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sala_compile.runtime.artifact.program import PhaseName, Program, TargetProgram, ValueKind
from sala_compile.runtime.cli.svg import document, line, rectangle, round_step, text
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.plan import Buffer, MemoryPlan, memory_sentence

WIDTH, HEIGHT, LIVE_HEIGHT, ZOOM_HEIGHT = 1480, 460, 90, 240
"""Pixels: width of all parts; heights of the arena, of what lives, of the enlarged decode."""
LEFT, TOP, GAP, RIGHT = 76, 118, 60, 24
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "residual stream": ("#4c566a", ("hidden",)),
    "projections": ("#4f7cac", ("linear",)),
    "norms and gates": (
        "#9ec1a3",
        ("rms_norm", "output_gate", "swiglu", "residual_add", "elementwise"),
    ),
    "sparse attention": ("#c1666b", ("attend_blocks", "append_kv", "compress_keys")),
    "linear attention": ("#e0a458", ("lightning_attention",)),
    "selected blocks": ("#8d5b8c", ("select_blocks",)),
    "embedding, rotary table": ("#7aa6a1", ("embedding", "rope_table", "rope")),
    "logits": ("#2f4858", ("logits",)),
    "workspace": ("#d9c9a8", ("workspace",)),
    "other": ("#b0b0b0", ()),
}
"""Kind -> colour, and the kernel families whose results are of it."""
STREAM = "hidden"
"""The value that crosses from the last layer to the logits; others of its size are its past."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """A part of the plane of steps and offsets, and where it is drawn."""

    first: int
    last: int
    low: int
    high: int
    top: int
    height: int

    def x(self, step: float) -> float:
        """The left edge of a step."""
        return LEFT + (step - self.first) * WIDTH / (self.last - self.first + 1)

    def y(self, offset: float) -> float:
        """The height of an offset in bytes."""
        share = (offset - self.low) / max(1, self.high - self.low)
        return self.top + self.height * (1 - share)


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring steps of one layer and phase."""

    phase: PhaseName
    layer: int | None
    first: int
    last: int


def arena_svg(program: Program, target: str, plan: MemoryPlan, name: str) -> str:
    """The arena of a plan: steps from left to right, offsets from the bottom up.

    Below stands how much lives at each step, and decode again, enlarged.
    """
    phases = program.targets[target]
    runs = list(_runs(phases))
    steps = runs[-1].last + 1 if runs else 1
    whole = _Panel(0, steps - 1, 0, max(plan.packing.total, 1), TOP, HEIGHT)
    live = replace(whole, top=TOP + HEIGHT + GAP, height=LIVE_HEIGHT)
    body = [*_headline(plan, name), *_legend(program, plan), *_drawn(whole, runs, program, plan)]
    body += [*_live(live, plan), *_axes(live)]
    bottom = live.top + LIVE_HEIGHT
    for panel in _enlarged(phases, plan, bottom + GAP + 20):
        body.append(text(LEFT, panel.top - 26, "decode, enlarged", "title"))
        body += _drawn(panel, runs, program, plan)
        bottom = panel.top + panel.height + 40
    return document(LEFT + WIDTH + RIGHT, bottom + 20, body)


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


def _enlarged(target: TargetProgram, plan: MemoryPlan, top: int) -> list[_Panel]:
    """The steps of decode over the offsets of its own buffers, if that is a small part."""
    counts = {name: len(phase.steps) for name, phase in target.phases.items()}
    first = counts.get(PhaseName.PREFILL, 0)
    last = first + counts.get(PhaseName.DECODE, 0) - 1
    own = [
        buffer
        for buffer in plan.packing.buffers
        if first <= buffer.first <= buffer.last <= last and buffer.size
    ]
    if not first or not own:
        return []
    low = min(plan.packing.offsets[buffer.name] for buffer in own)
    high = max(plan.packing.offsets[buffer.name] + buffer.size for buffer in own)
    if high - low > plan.packing.total / 4:
        return []
    return [_Panel(first, last, low, high, top, ZOOM_HEIGHT)]


def _drawn(panel: _Panel, runs: Sequence[_Run], program: Program, plan: MemoryPlan) -> list[str]:
    return [*_layers(panel, runs), *_buffers(panel, program, plan), *_axes(panel)]


def _headline(plan: MemoryPlan, name: str) -> list[str]:
    packing = plan.packing
    excess = packing.total / packing.lower_bound - 1 if packing.lower_bound else 0.0
    return [
        text(LEFT, 30, f"The arena of {name}, step by step", "big"),
        text(
            LEFT,
            52,
            f"{format_bytes(packing.total)}, {excess:.1%} above the most that lives at once; "
            f"chunk {plan.sizes.chunk}, {plan.sizes.workers} threads",
        ),
        text(LEFT, 70, f"All memory: {memory_sentence(plan)}"),
        text(LEFT, TOP + HEIGHT + GAP - 8, "bytes that live at each step"),
    ]


def _legend(program: Program, plan: MemoryPlan) -> list[str]:
    used = {_kind(program, buffer.name) for buffer in plan.packing.buffers}
    parts, x = [], LEFT
    for kind, (colour, _) in KINDS.items():
        if kind in used:
            parts.append(f'<rect x="{x}" y="80" width="13" height="13" fill="{colour}"/>')
            parts.append(text(x + 18, 91, kind))
            x += 34 + 7 * len(kind)
    return parts


def _layers(panel: _Panel, runs: Sequence[_Run]) -> list[str]:
    """Bands for the layers, their numbers below, and the phases above."""
    parts: list[str] = []
    shown = [run for run in runs if panel.first <= run.first <= panel.last]
    for run in shown:
        left, right = panel.x(run.first), panel.x(run.last + 1)
        if run.layer is not None and run.layer % 2 == 0:
            parts.append(rectangle(left, panel.top, right - left, panel.height, "#f3f3f3"))
        if run.layer is not None and right - left > 12:
            middle, base = (left + right) / 2, panel.top + panel.height
            parts.append(text(middle, base + 14, str(run.layer), "small", anchor="middle"))
    parts.append(text(LEFT, panel.top + panel.height + 30, "layer of the step", "small"))
    for phase in PhaseName:
        own = [run for run in shown if run.phase is phase]
        if own:
            left, right = panel.x(own[0].first), panel.x(own[-1].last + 1)
            parts.append(line(left, panel.top - 14, left, panel.top + panel.height, "#999"))
            count = own[-1].last - own[0].first + 1
            label = f"{phase.value}, {count} steps" if right - left > 110 else phase.value
            anchor = "start" if left + 7 * len(label) < LEFT + WIDTH else "end"
            place = left + 4 if anchor == "start" else LEFT + WIDTH
            parts.append(text(place, panel.top - 6, label, anchor=anchor))
    return parts


def _buffers(panel: _Panel, program: Program, plan: MemoryPlan) -> list[str]:
    whole = rectangle(LEFT, panel.top, WIDTH, panel.height)
    clip = f'<clipPath id="panel{panel.top}">{whole}</clipPath>'
    parts = [clip, f'<g clip-path="url(#panel{panel.top})">']
    for buffer in plan.packing.buffers:
        if buffer.size and buffer.first <= panel.last and buffer.last >= panel.first:
            parts.append(_buffer(panel, program, buffer, plan.packing.offsets[buffer.name]))
    return [*parts, "</g>"]


def _buffer(panel: _Panel, program: Program, buffer: Buffer, offset: int) -> str:
    kind = _kind(program, buffer.name)
    left, right = panel.x(max(buffer.first, panel.first)), panel.x(buffer.last + 1)
    low, high = panel.y(offset), panel.y(offset + buffer.size)
    told = (
        f"{buffer.name}\n{kind}, {format_bytes(buffer.size)} ({buffer.size} bytes)\n"
        f"offset {offset}, steps {buffer.first} to {buffer.last}"
    )
    shape = rectangle(left, high, right - left, low - high, KINDS[kind][0], told)
    visible = panel.low <= offset and offset + buffer.size <= panel.high
    if not visible or right - left < 8 * len(kind) or low - high < 16:
        return shape
    return shape + text((left + right) / 2, (low + high) / 2 + 4, kind, "inside", anchor="middle")


def _live(panel: _Panel, plan: MemoryPlan) -> list[str]:
    """The sum of what lives at each step, and the size of the arena."""
    sums = [0] * (panel.last - panel.first + 1)
    for buffer in plan.packing.buffers:
        for step in range(max(buffer.first, panel.first), buffer.last + 1):
            sums[step - panel.first] += buffer.size
    path = [f"{LEFT},{panel.y(0):.1f}"]
    for index, size in enumerate(sums):
        step = panel.first + index
        path += [
            f"{panel.x(step):.1f},{panel.y(size):.1f}",
            f"{panel.x(step + 1):.1f},{panel.y(size):.1f}",
        ]
    points = " ".join([*path, f"{LEFT + WIDTH},{panel.y(0):.1f}"])
    return [f'<polygon points="{points}" fill="#8a94a6"/>']


def _axes(panel: _Panel) -> list[str]:
    """Offsets on the left, in MiB or KiB, and a frame."""
    span = panel.high - panel.low
    unit, name = (1 << 20, "MiB") if span >= 2 << 20 else (1 << 10, "KiB")
    step = round_step(span / unit / (panel.height / 75)) * unit
    parts = [
        f'<rect x="{LEFT}" y="{panel.top}" width="{WIDTH}" height="{panel.height}" '
        'fill="none" stroke="#777"/>',
        text(LEFT - 8, panel.top - 6, name, "small", anchor="end"),
    ]
    tick = -(-panel.low // step) * step
    while tick <= panel.high:
        y = panel.y(tick)
        parts.append(line(LEFT - 5, y, LEFT, y, "#777"))
        parts.append(text(LEFT - 8, y + 4, f"{tick / unit:.10g}", "small", anchor="end"))
        tick += step
    return parts


def _kind(program: Program, name: str) -> str:
    value, stream = program.values[name], program.values.get(STREAM)
    if value.kind is ValueKind.WORKSPACE:
        return "workspace"
    family = re.sub(r"(\.\d+)+$", "", re.sub(r"^layers\.\d+\.", "", name.rpartition("/")[2]))
    in_stream = stream and (value.dtype, value.shape[1:]) == (stream.dtype, stream.shape[1:])
    if in_stream and family in ("linear", "embedding", "residual_add"):
        return "residual stream"
    return next((kind for kind, (_, families) in KINDS.items() if family in families), "other")
