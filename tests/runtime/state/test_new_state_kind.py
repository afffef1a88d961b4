"""What a new kind of state touches: its type. All else follows from what the type describes.

Three kinds that the compiler does not know: a latent cache whose pages are twice those of keys,
with a second tensor of one entry for two tokens; a window of the last inputs of a convolution; and
pages of integers with scales, next to rows that every sequence has. Their types alone are written
here; they run through the step, the program, the plan, the memory, forks,
snapshots, prefixes, state files and drawn states.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner
from xdsl.dialects.builtin import IntAttr, bf16, f32
from xdsl.ir import Attribute, SSAValue
from xdsl.irdl import irdl_attr_definition

import sala_compile
from sala_compile.codegen.program.assemble import Assembly
from sala_compile.codegen.program.phases import ValueTable
from sala_compile.codegen.program.stored_state import paging_of, pools_of
from sala_compile.codegen.vectors.sequences import seeded_state
from sala_compile.passes.assign_precision import AssignPrecision
from sala_compile.runtime.artifact import (
    ElementType,
    Paging,
    Program,
    Symbol,
    dim_of,
    write_artifact,
)
from sala_compile.runtime.artifact.format_model import align
from sala_compile.runtime.cli import inspect
from sala_compile.runtime.errors import CompileError
from sala_compile.runtime.golden.drawn_state import draw_state
from sala_compile.runtime.model import Model
from sala_compile.runtime.sequence import TokenSequence
from sala_compile.runtime.state.page_layout import RowLayout
from sala_compile.runtime.state.state_layout import StateLayout, read_pieces, write_pieces
from sala_compile.sala_ir.context import make_context
from sala_compile.sala_ir.dialect import KernelCallOp
from sala_compile.sala_ir.dialect.state_parts import PageNumbering, Shared, StatePart
from sala_compile.sala_ir.dialect.types import StateType
from sala_compile.sala_ir.frontends.kit.step import StepWriter
from tests.support.handmade import fill, tiny_program
from tests.support.sequences import assert_unused, text, used


@irdl_attr_definition
class LatentCacheType(StateType):
    """`!toy.latent_cache<page, width, element>`."""

    name = "toy.latent_cache"
    MEMORY: ClassVar[str] = "latent_cache"
    page_tokens: IntAttr
    width: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        latent = StatePart("latent", "latent", (self.width.data,))
        index = StatePart("index", "index", (2, 4), stride=2, skipped=1, shared=Shared.ENTRIES)
        return latent, index

    @property
    def numbering(self) -> PageNumbering:
        return PageNumbering("latent", "latent_table", self.page_tokens.data, "latent pages")


@irdl_attr_definition
class ConvolutionWindowType(StateType):
    """`!toy.convolution_window<channels, taps, element>`."""

    name = "toy.convolution_window"
    MEMORY: ClassVar[str] = "convolution_windows"
    NARROW: ClassVar[bool] = False
    channels: IntAttr
    taps: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        return (StatePart("", "window", self.sizes),)


@irdl_attr_definition
class RoundedPagesType(StateType):
    """`!toy.rounded_pages<page, width, element>`: full pages alone hold anything."""

    name = "toy.rounded_pages"
    MEMORY: ClassVar[str] = "rounded_pages"
    page_tokens: IntAttr
    width: IntAttr

    @property
    def parts(self) -> tuple[StatePart, ...]:
        page, width = self.sizes
        whole = partial(StatePart, stride=page, shared=None)
        return (
            whole("words", "words", (2, width), words=True),
            whole("scale", "scales", (width,), unit=0.25),
            StatePart("open", "open", (page, width), slots="open_rows"),
        )

    @property
    def numbering(self) -> PageNumbering:
        return PageNumbering("latent", "latent_table", self.page_tokens.data, "latent pages")


LATENT = LatentCacheType(bf16, IntAttr(8), IntAttr(6))
WINDOW = ConvolutionWindowType(f32, IntAttr(5), IntAttr(3))
ROUNDED = RoundedPagesType(bf16, IntAttr(8), IntAttr(3))
STATES: dict[str, StateType] = {
    "layers.0.latent_cache": LATENT,
    "layers.1.window": WINDOW,
    "layers.2.pages": ROUNDED,
}


def described(program: Program) -> Program:
    """The hand-made program with the states besides its own, for processors and for GPUs."""
    table = ValueTable()
    for kind in ("cpu", "gpu"):
        for name, state in STATES.items():
            table.state(name, state, kind)
    own = {n: v for n, v in table.values.items() if not n.startswith("cuda/")}
    groups = program.paging.groups | paging_of(STATES.values()).groups
    return Program.model_validate_json(
        program.model_copy(
            update={
                "values": program.values | own,
                "pools": program.pools | pools_of({"cpu": STATES}),
                "paging": Paging(page_tokens=program.paging.page_tokens, groups=groups),
            }
        ).model_dump_json()
    )


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "toy.sala"
    write_artifact(path, lambda writer: fill(writer, program=described(tiny_program())))
    return path


@pytest.fixture
def model(artifact: Path) -> Iterator[Model]:
    options: dict[str, Any] = {"snapshots": 2, "prefix_cache": "64KiB", "snapshot_every": 8}
    with sala_compile.load(artifact, batch=2, sequences=4, poison=True, **options) as loaded:
        yield loaded
        assert_held_by_the_cache_only(loaded)


def assert_held_by_the_cache_only(model: Model) -> None:
    assert used(model)["sequences"] == 0
    assert model.info()["prefix_cache"]["entries"] >= 0


NAMES = {
    *("layers.0.latent", "layers.0.index", "layers.1.window"),
    *("layers.2.words", "layers.2.scales", "layers.2.open"),
}


def layout(model: Model) -> StateLayout:
    return StateLayout(model.artifact.program, "cpu")


def write(model: Model, sequence: TokenSequence, seed: int) -> dict[str, np.ndarray]:
    """Fill the toy states of a sequence; the canonical arrays."""
    random, arrays = np.random.default_rng(seed), {}
    for part in layout(model).parts(len(sequence)):
        if part.name.startswith("layers."):
            array = random.integers(1, 1000, part.shape).astype(part.element.numpy)
            arrays[part.name], begin = array, 0
            for size, writer in write_pieces(part, model.memory, sequence.state):
                writer.write(array.tobytes()[begin : begin + size])
                begin += size
    return arrays


def read(model: Model, sequence: TokenSequence) -> dict[str, np.ndarray]:
    return {
        part.name: np.concatenate(
            [*read_pieces(part, model.memory, sequence.state), np.zeros((0, *part.row))]
        ).astype(part.element.numpy)
        for part in layout(model).parts(len(sequence))
        if part.name.startswith("layers.")
    }


def same(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys() == NAMES
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_step_takes_its_table_and_its_states():
    step = StepWriter({})
    step.begin(STATES)
    assert [*step.arguments][-4:] == ["latent_table", *STATES]
    call = KernelCallOp(
        [step.arguments["layers.0.latent_cache"], step.arguments["layers.1.window"]],
        symbol="k",
        result_types=[[LATENT, WINDOW]],
        family="toy",
        arguments=["control", "batch:latent_table", "in:0.latent", "in:0.index", "in:1"],
        updates=[(0, 0), (1, 1)],
    )
    call.verify()
    states: dict[SSAValue, SSAValue] = call.state_updates
    assert [value.type for value in states] == [LATENT, WINDOW]


def test_precision_follows_from_the_type():
    step = StepWriter({})
    exact = {"a.latent_cache": LATENT.with_element(f32), "b.window": WINDOW}
    step.begin(exact)
    module = step.finish(step.arguments["tokens"])
    AssignPrecision().apply(make_context(), module)
    kinds: list[Attribute] = [value.type for value in module.ops.first.body.block.args]
    assert kinds[-2:] == [LATENT, WINDOW]


def test_the_program_has_the_layouts_of_every_target():
    assembly = Assembly()
    for kind in ("cpu", "gpu"):
        for name, state in STATES.items():
            assembly.table.state(name, state, kind)
    pools = pools_of(assembly.table.states)
    latent, index = pools["layers.0.latent_cache"].parts
    assert latent.stored == {
        "layers.0.latent_cache.latent": (1, 0, 1),
        "cuda/layers.0.latent_cache.latent": (0, 1),
    }
    assert index.stored == {
        "layers.0.latent_cache.index": (1, 0, 2, 0),
        "cuda/layers.0.latent_cache.index": (1, 0, 2),
    }
    assert pools["layers.1.window"].parts[0].stored == {"layers.1.window": (1, 2)}
    pages, rows = pools["layers.2.pages"], pools["layers.2.pages.open_rows"]
    assert (pages.group, rows.group) == ("latent", None)
    assert [part.stored for part in (*pages.parts, *rows.parts)] == [
        {"layers.2.pages.words": (1, 2)},
        {"layers.2.pages.scale": (1,)},
        {"layers.2.pages.open": (1, 2)},
    ]
    values = assembly.table.values
    assert values["layers.2.pages.words"].dtype is ElementType.INT32
    assert values["layers.2.pages.words"].shape == (dim_of("latent_pages"), 2, 3)
    assert values["layers.2.pages.open"].shape == (dim_of(Symbol.SLOTS), 8, 3)
    assert values["layers.0.latent_cache.latent"].shape[1:] == (3, 16, 2)
    assert values["cuda/layers.0.latent_cache.index"].shape[1:] == (2, 4, 4)
    assert "latent_table" in values


def test_pages_of_two_sizes_in_a_group_are_refused():
    other = LatentCacheType(bf16, IntAttr(16), IntAttr(6))
    with pytest.raises(CompileError, match="pages of 8 and of 16 tokens"):
        paging_of([LATENT, other])


@pytest.mark.parametrize(
    ("shape", "axes", "logical"),
    [
        ((3, 16, 2), (1, 0, 1), (8, 6)),
        ((2, 8, 16, 2), (1, 0, 2, 0), (4, 2, 4)),
        ((2, 4, 4), (1, 0, 2), (4, 2, 4)),
        ((5, 3), (1, 2), (5, 3)),
        ((4, 3, 2), (2, 1, 2), (3, 7)),
        ((5, 3), (1, 2), (1, 5, 3)),
    ],
)
def test_rows_come_back_from_every_layout(shape, axes, logical):
    rows = RowLayout(shape, axes, logical)
    entries = np.arange(2 * np.prod(logical)).reshape(2, *logical) + 1
    stored = rows.stored(entries)
    assert stored.shape == (2, *shape)
    assert np.count_nonzero(stored) == entries.size
    np.testing.assert_array_equal(rows.entries(stored), entries)


def test_the_plan_and_the_commands_show_them(model: Model, artifact: Path):
    parts = model.plan.parts
    assert list(parts) == [
        *("weights", "kv_pages", "latent_cache", "rounded_pages", "compressed_keys"),
        *("convolution_windows", "open_rows", "recurrent_state", "arena", "inputs"),
    ]
    pages = model.info()["pages"]["latent"]["total"]
    assert parts["latent_cache"] == pages * (3 * 16 * 2 + 2 * 8 * 16 * 2) * 2
    assert parts["rounded_pages"] == align(pages * 6 * 4) + align(pages * 3 * 2)
    shown = CliRunner().invoke(inspect.command, [str(artifact), "--memory"]).output
    assert "latent cache" in shown
    assert "convolution windows" in shown


def test_forks_and_snapshots_keep_them(model: Model):
    with model.sequence() as one:
        one.append(text(model, 11))
        before = write(model, one, seed=1)
        assert one.snapshot() == 11
        with one.fork() as two:
            same(read(model, two), before)
            two.append([1, 2])
            arrays = model.memory.arrays
            arrays["layers.1.window"][two.state.slot] = -1
            for name in ("latent", "index"):  # the second page is begun, and so the fork's own
                arrays[f"layers.0.latent_cache.{name}"][two.state.pages["latent"][1]] = 0
            same(read(model, one), before)
        one.append(text(model, 9))
        write(model, one, seed=3)
        one.truncate(11)
        found = read(model, one)
        np.testing.assert_array_equal(found["layers.1.window"], before["layers.1.window"])
        np.testing.assert_array_equal(found["layers.0.latent"][8:], before["layers.0.latent"][8:])


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 16, 37])
def test_state_files_hold_them(model: Model, tmp_path: Path, length: int):
    with model.sequence() as one:
        one.append(text(model, length))
        before = write(model, one, seed=length)
        assert before["layers.0.index"].shape == (max(0, length // 2 - 1), 2, 4)
        one.save(tmp_path / "x.sala-state")
    with model.restore(tmp_path / "x.sala-state") as two:
        same(read(model, two), before)


def test_prefixes_share_their_pages(model: Model):
    ids = text(model, 40)
    with model.sequence() as one:
        one.append(ids)
        before = write(model, one, seed=4)
    with model.sequence() as two:
        two.append(ids)
        reused = two.prefix_report.reused_tokens
        assert reused >= 32
        full = reused // 8 * 8
        found = read(model, two)["layers.0.latent"]
        np.testing.assert_array_equal(found[:full], before["layers.0.latent"][:full])


def test_what_lacks_pages_takes_none(artifact: Path):
    with sala_compile.load(artifact, context=32, batch=1, sequences=3) as model:
        one, two = model.sequence(), model.sequence()
        one.append(text(model, 30))
        held = used(model)
        with pytest.raises(sala_compile.SalaError, match="pages are needed"):
            two.append(text(model, 20))
        assert used(model) == held
        two.close()
        one.close()
        assert_unused(model)


def test_the_drawn_state_is_the_references(model: Model):
    with model.sequence() as sequence:
        sequence.append(text(model, 13))
        draw_state(layout(model), model.memory, sequence.state, 7, 0)
        found = read(model, sequence)
    latent, index = seeded_state("layers.0.latent_cache", LATENT, 13, 0, 7)
    assert (latent.shape, index.shape) == ((13, 6), (5, 2, 4))
    window = seeded_state("layers.1.window", WINDOW, 13, 0, 7)
    np.testing.assert_array_equal(found["layers.1.window"], window.astype(np.float32))
    words, scales, rows = seeded_state("layers.2.pages", ROUNDED, 13, 0, 7)
    np.testing.assert_array_equal(found["layers.2.words"], words)
    assert (words.dtype, scales.shape, rows.shape) == (np.int32, (1, 3), (8, 3))
    assert 0 < np.abs(scales).max() < 0.25 * 3**0.5
    wide = (found["layers.0.latent"].astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(wide, latent.astype(np.float32))
