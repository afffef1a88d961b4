"""The tables of `benchmarks.sparse_beside_dense`: what was measured, then what follows from it."""

from typing import Any

from benchmarks.markdown import page, table

Row = dict[str, Any]
Rows = dict[str, Row]
SALA, DENSE = "sala", "qwen3"
TEXT = """\
Layers of full width with random weights: of the released MiniCPM-SALA one sparse and three linear
ones (`sala`; two layers: one of each), of Qwen3-8B two dense ones (`qwen3`). Time to first token:
the sum of the segments in which a prompt was read, each timed, the models in turn. Decode: seconds
of a token after a text of random keys, values and states, median. Made by
`python -m benchmarks.sparse_beside_dense`."""
EXTRAPOLATED = """\
**Extrapolated**, not measured, to all layers (32 with a quarter sparse, and 36): the time of the
layers times their number, the head once. A prompt's head is one row of many, so that its time is
left as it is; that of a decoded token is its part of the weights read at the shortest length.
From two layers of `sala` this cannot be told: they are half sparse, not a quarter."""


def markdown(document: dict[str, Any]) -> str:
    """For each precision and number of layers, two tables."""
    blocks: list[str | list[str]] = []
    for group, rows in document["rows"].items():
        blocks += [f"## {group}", _weights(rows["model"])]
        lines = _measured(rows, document["segment"])
        if lines:
            blocks.append(table(("length", *_columns()), lines))
        lines = _extrapolated(rows, document["segment"])
        if lines:
            blocks += [EXTRAPOLATED, table(("length", *_columns()), lines)]
    return page("Sparse and linear layers compared with dense ones", document, TEXT, *blocks)


def _columns() -> tuple[str, ...]:
    what = ("first token", "decode")
    sides = (f"{name} of {side}" for name in what for side in (SALA, DENSE))
    return (*sides, "times first token", "times decode")


def _weights(model: Row) -> str:
    parts = [
        f"{side}: {found['layers']} of {found['whole']} layers, a decoded token reads "
        f"{found['read_bytes'] / 2**20:.0f} MiB of weights, {found['head_bytes'] / 2**20:.0f} of "
        "them the head's"
        for side, found in model.items()
    ]
    return "; ".join(parts) + "."


def first_token(rows: Rows, side: str, length: int, segment: int) -> float | None:
    """Seconds to the first token after a prompt; None where a segment was not measured."""
    names = [f"segment {start}" for start in range(0, length, segment)]
    if not all(name in rows for name in names):
        return None
    return sum(rows[name][side]["seconds"] for name in names)


def _lengths(rows: Rows) -> list[int]:
    return [int(name.split()[1]) for name in rows if name.startswith("decode ")]


def _measured(rows: Rows, segment: int) -> list[tuple[str, ...]]:
    return [
        _line(
            length,
            [first_token(rows, side, length, segment) for side in (SALA, DENSE)],
            [rows[f"decode {length}"][side]["seconds"] for side in (SALA, DENSE)],
        )
        for length in _lengths(rows)
    ]


def _extrapolated(rows: Rows, segment: int) -> list[tuple[str, ...]]:
    model, lengths = rows["model"], _lengths(rows)
    if model[SALA]["layers"] % 4 or not lengths:
        return []
    least = f"decode {min(lengths)}"
    found = []
    for length in lengths:
        first: list[float | None] = []
        decode: list[float] = []
        for side in (SALA, DENSE):
            times = model[side]["whole"] / model[side]["layers"]
            head = (
                rows[least][side]["seconds"] * model[side]["head_bytes"] / model[side]["read_bytes"]
            )
            own = first_token(rows, side, length, segment)
            first.append(None if own is None else own * times)
            decode.append((rows[f"decode {length}"][side]["seconds"] - head) * times + head)
        found.append(_line(length, first, decode))
    return found


def _line(length: int, first: list[float | None], decode: list[float]) -> tuple[str, ...]:
    ratio = first[1] / first[0] if first[0] is not None and first[1] is not None else None
    return (
        f"{length >> 10}K",
        *("" if each is None else f"{each:.1f} s" for each in first),
        *(f"{1e3 * each:.1f} ms" for each in decode),
        "" if ratio is None else f"{ratio:.2f}",
        f"{decode[1] / decode[0]:.2f}",
    )
