"""Edits of a program that keep its form: other operands, kernels, shapes, intervals."""

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.case import Edit
from tests.fuzz.values import INTEGERS, Draw

SYMBOLS = (
    *("tokens", "sequences", "slots", "logit_rows", "pages", "workers", "sequence_pages"),
    *("kv_pages", "compressed_pages", "sequence_kv_pages", "sequence_compressed_pages", "no_pages"),
)


@st.composite
def program_edit(draw: Draw, file: str, program: dict[str, Any], target: str = "cpu") -> Edit:
    """One edit of a valid program."""
    kind = draw(
        st.sampled_from(("shape", "shape", "argument", "argument", "step", "live", "other"))
    )
    if kind == "shape":
        return draw(_shape(file, program))
    if kind == "other":
        return draw(_other(file, program))
    phases = program["targets"][target]["phases"]
    phase = draw(st.sampled_from(sorted(phases)))
    place = ("targets", target, "phases", phase)
    if kind == "live":
        return draw(_interval(file, phases[phase], place))
    steps = phases[phase]["steps"]
    index = draw(st.integers(0, len(steps) - 1))
    if kind == "step":
        return draw(_step(file, steps, index, (*place, "steps", index)))
    count = len(steps[index]["arguments"])
    at = (*place, "steps", index, "arguments", draw(st.integers(0, count - 1)))
    return Edit(file, "set", at, draw(st.sampled_from(sorted(program["values"]))))


@st.composite
def _shape(draw: Draw, file: str, program: dict[str, Any]) -> Edit:
    """Another dim, element type or kind of a value."""
    name = draw(st.sampled_from(sorted(program["values"])))
    value = program["values"][name]
    if not value["shape"] or draw(st.integers(0, 5)) == 0:
        types = ("float32", "int32", "uint16", "uint8", "int8", "uint32", "int64")
        kinds = ("activation", "workspace", "pool", "weight", "input")
        field, values = draw(st.sampled_from((("dtype", types), ("kind", kinds))))
        return Edit(file, "set", ("values", name, field), draw(st.sampled_from(values)))
    dim = draw(st.integers(0, len(value["shape"]) - 1))
    at = ("values", name, "shape", dim)
    old = value["shape"][dim]
    if isinstance(old, int) and draw(st.booleans()):
        near = (old - 1, old + 1, old // 2, old * 2, 1, 0)
        return Edit(file, "set", at, draw(st.sampled_from(near)))
    factor = draw(st.sampled_from((1, 1, 1, 2, 0, -1, 16, 64, 4096)))
    constant = draw(st.sampled_from((0, 0, 1, -1, -2, 64)))
    terms = [[factor, [draw(st.sampled_from(SYMBOLS))]], [constant, []]]
    return Edit(file, draw(st.sampled_from(("set", "set", "insert"))), at, {"terms": terms})


@st.composite
def _step(draw: Draw, file: str, steps: list[Any], index: int, at: tuple) -> Edit:
    """A step less, twice, in another place, or of another kernel."""
    other = draw(st.sampled_from(steps))
    kind = draw(st.sampled_from(("delete", "insert", "set", "kernel", "arguments")))
    if kind in ("delete", "insert", "set"):
        return Edit(file, kind, at, other)
    field = "kernel" if kind == "kernel" else "arguments"
    return Edit(file, "set", (*at, field), other[field])


@st.composite
def _interval(draw: Draw, file: str, phase: dict[str, Any], place: tuple) -> Edit:
    """A value that lives longer or shorter."""
    name = draw(st.sampled_from(sorted(phase["live"])))
    last = len(phase["steps"]) - 1
    ends = sorted(draw(st.integers(0, last)) for _ in range(2))
    return Edit(file, "set", (*place, "live", name), draw(st.sampled_from((ends, [0, last]))))


@st.composite
def _other(draw: Draw, file: str, program: dict[str, Any]) -> Edit:
    """Other pages, logits and observed values."""
    values = sorted(program["values"])
    fields = ("page_tokens", "group", "pool", "logits", "observable")
    field = draw(st.sampled_from(fields))
    if field == "logits":
        return Edit(file, "set", ("logits",), draw(st.sampled_from(values)))
    if field == "observable" and program["observable"]:
        kind = draw(st.sampled_from(sorted(program["observable"])))
        roles = sorted(program["observable"][kind][0]["values"])
        at = ("observable", kind, 0, "values", draw(st.sampled_from(roles)))
        return Edit(file, "set", at, draw(st.sampled_from(values)))
    number = draw(st.sampled_from((0, 1, 2, 3, 4, 16, 64, 256, 1024, *INTEGERS)))
    if field == "group" and program["paging"]["groups"]:
        group = draw(st.sampled_from(sorted(program["paging"]["groups"])))
        return Edit(file, "set", ("paging", "groups", group, "tokens"), number)
    if field == "pool" and program["pools"]:
        pool = draw(st.sampled_from(sorted(program["pools"])))
        part = draw(st.integers(0, len(program["pools"][pool]["parts"]) - 1))
        at = ("pools", pool, "parts", part, draw(st.sampled_from(("stride", "skipped", "row"))))
        return Edit(file, "set", at, [number] if at[-1] == "row" else number)
    return Edit(file, "set", ("paging", "page_tokens"), number)
