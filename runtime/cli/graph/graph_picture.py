"""The outline of a model as a drawing: its layers as a tower, each kind of layer as a card."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sala_compile.runtime.cli.graph.outline import (
    TIMES,
    TO,
    LayerKind,
    Outline,
    OutlineKernel,
    OutlineState,
)
from sala_compile.runtime.common.units import format_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TONES = ("#3d5afe", "#d9701a", "#8e3fb5", "#0b8a9c", "#b3324d")
"""Colours of the kinds of layers, in the order in which they occur."""
INK, SOFT, LINE, PAGE, ENDS = "#1d1f24", "#6b7080", "#dedcd5", "#f6f5f2", "#59606f"
STATE, STATE_BACK = "#1f7a55", "#e3f2ea"
MARGIN, TOWER, CARD, STATES, GAP = 28.0, 184.0, 300.0, 132.0, 26.0
"""Points: the margin, the widths of the tower, of a card and of the states next to it, a gap."""
ROW, HEAD, TOP = 30.0, 46.0, 92.0
"""Points: the heights of a kernel, of the head of a card, and of the title."""
STATE_HEIGHT = 46.0
RUN, MOST = 24.0, 96.0
"""Points: the least and the greatest height of a run of layers in the tower."""


class GraphPicture:
    """Draws with matplotlib in points, from the top left corner."""

    def __init__(self, outline: Outline) -> None:
        """Nothing is drawn yet."""
        self._outline = outline
        self._hints: dict[str, str] = {}

    def figure(self) -> "tuple[Figure, dict[str, str]]":
        """The drawing, and hints for its shapes."""
        from matplotlib.figure import Figure

        cards = [self._outline.before + self._outline.after]
        cards += [kind.kernels for kind in self._outline.kinds]
        tower = sum(self._run_height(first, last) + 4 for _, first, last in self._outline.runs)
        height = TOP + max(HEAD + ROW * max(map(len, cards)) + 24, tower + 2 * (RUN + 4)) + MARGIN
        width = 2 * MARGIN + TOWER + sum(GAP + self._width(kind) for kind in self._outline.kinds)
        width += GAP + CARD
        figure = Figure(figsize=(width / 72, height / 72), facecolor=PAGE)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        self._draw_title(axes)
        self._draw_tower(axes)
        left = MARGIN + TOWER + GAP
        for number, kind in enumerate(self._outline.kinds):
            self._draw_kind(axes, left, number, kind)
            left += self._width(kind) + GAP
        ends = self._outline.before + self._outline.after
        self._draw_card(axes, left, ENDS, "Before and after", "", ends)
        return figure, self._hints

    @staticmethod
    def _width(kind: LayerKind) -> float:
        return CARD + (STATES if kind.states else 0)

    @staticmethod
    def _run_height(first: int, last: int) -> float:
        return min(RUN + 7 * (last - first), MOST)

    def _draw_title(self, axes: "Axes") -> None:
        _text(axes, MARGIN, 34, self._outline.name, 17, weight="bold")
        left = MARGIN
        for name, value in self._outline.facts:
            if value:
                _text(axes, left, 58, name.upper(), 6.5, SOFT)
                _text(axes, left, 71, value, 9)
                left += 26 + 5.2 * max(len(value), len(name))

    def _draw_tower(self, axes: "Axes") -> None:
        top = TOP
        for label in ("tokens", None, "logits"):
            if label is not None:
                _box(axes, MARGIN, top, TOWER, RUN, PAGE, LINE)
                _text(axes, MARGIN + 10, top + RUN / 2, label, 8.5, SOFT)
                top += RUN + 4
                continue
            for kind, first, last in self._outline.runs:
                height = self._run_height(first, last)
                _box(axes, MARGIN, top, TOWER, height, _tone(kind))
                title = self._outline.kinds[kind].title
                _text(axes, MARGIN + 10, top + height / 2, title, 8.5, "white")
                count = (
                    f"{first}{TO}{last}  {TIMES}{last - first + 1}" if last > first else str(first)
                )
                right = MARGIN + TOWER - 10
                _text(axes, right, top + height / 2, count, 8.5, "white", "right", weight="bold")
                top += height + 4

    def _draw_kind(self, axes: "Axes", left: float, number: int, kind: LayerKind) -> None:
        tone = _tone(number)
        title = f"{kind.title}  {TIMES}{len(kind.layers)}"
        note = f"{kind.numbers}, {format_bytes(kind.weight_bytes)} of weights each"
        self._draw_card(axes, left, tone, title, note, kind.kernels)
        edge, taken = left + CARD, TOP
        for place, state in enumerate(kind.states):
            users = [at for at, k in enumerate(kind.kernels) if state.kind in k.states]
            middle = TOP + HEAD + ROW * (sum(users) / len(users) + 0.5) if users else taken
            top = max(middle - STATE_HEIGHT / 2, taken + 8)
            taken = top + STATE_HEIGHT
            self._draw_state(axes, edge + 18, top, state)
            for user in users:
                height = TOP + HEAD + ROW * (user + 0.5)
                trunk = edge + 18 * (place + 1) / (len(kind.states) + 1)
                ends = [edge, trunk, trunk, edge + 18]
                heights = [height, height, top + STATE_HEIGHT / 2, top + STATE_HEIGHT / 2]
                axes.plot(ends, heights, color=STATE, linewidth=1, zorder=1)

    @staticmethod
    def _draw_state(axes: "Axes", left: float, top: float, state: OutlineState) -> None:
        _box(axes, left, top, STATES - 18, STATE_HEIGHT, STATE_BACK, STATE)
        _text(axes, left + 8, top + 12, state.kind, 8, STATE, weight="bold")
        _text(axes, left + 8, top + 24, state.size, 8, STATE)
        _text(axes, left + 8, top + 36, f"{state.shape}, {state.element}", 5.8, STATE)

    def _draw_card(
        self,
        axes: "Axes",
        left: float,
        tone: str,
        title: str,
        note: str,
        kernels: Sequence[OutlineKernel],
    ) -> None:
        _box(axes, left, TOP, CARD, HEAD + ROW * len(kernels) + 10, "white", LINE)
        _box(axes, left, TOP, CARD, 4, tone)
        _text(axes, left + 12, TOP + 18, title, 11, tone, weight="bold")
        _text(axes, left + 12, TOP + 33, note, 7.5, SOFT)
        for index, kernel in enumerate(kernels):
            self._draw_kernel(axes, left, TOP + HEAD + ROW * index, tone, kernel)

    def _draw_kernel(
        self, axes: "Axes", left: float, top: float, tone: str, kernel: OutlineKernel
    ) -> None:
        gid = f"kernel-{len(self._hints)}"
        _box(axes, left + 8, top + 2, CARD - 16, ROW - 4, PAGE, gid=gid)
        self._hints[gid] = "\n".join(filter(None, (kernel.symbol, kernel.shape, kernel.stored)))
        _text(axes, left + 15, top + 10.5, kernel.sentence, 8, weight="bold")
        what = ", ".join(kernel.weights)
        shape = kernel.shape if not what else f"{what}: {kernel.shape}".rstrip(": ")
        _text(axes, left + 15, top + 20.5, shape, 6.8, SOFT)
        if kernel.weight_bytes:
            size = format_bytes(kernel.weight_bytes)
            _text(axes, left + CARD - 15, top + 10.5, size, 7, tone, "right")
            _text(axes, left + CARD - 15, top + 20.5, kernel.stored, 6, SOFT, "right")


def _tone(kind: int) -> str:
    return TONES[kind % len(TONES)]


def _box(
    axes: "Axes",
    left: float,
    top: float,
    width: float,
    height: float,
    face: str,
    edge: str | None = None,
    gid: str | None = None,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    rounded = f"round,pad=0,rounding_size={min(5.0, height / 2)}"
    axes.add_patch(
        FancyBboxPatch(
            (left, top),
            width,
            height,
            boxstyle=rounded,
            facecolor=face,
            edgecolor=edge or face,
            linewidth=0.8,
            gid=gid,
            zorder=2,
        )
    )


def _text(
    axes: "Axes",
    left: float,
    middle: float,
    text: str,
    size: float,
    colour: str = INK,
    align: str = "left",
    weight: str = "normal",
) -> None:
    axes.text(
        left,
        middle,
        text,
        fontsize=size,
        color=colour,
        ha=align,
        va="center",
        fontweight=weight,
        zorder=3,
    )
