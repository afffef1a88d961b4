"""The size of a page is the compiler's to choose: results, state files and selection stay."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.bench.costs import CostModel, Live
from tests.support.checkpoints import tiny_config, write_checkpoint
from tests.support.sequences import text


def compile_with(checkpoint: Path, path: Path, *options: str) -> Path:
    arguments = [str(checkpoint), "-o", str(path), *options]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "checkpoint"
    write_checkpoint(path, tiny_config())
    return path


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The model with pages that are blocks of selection, and with pages of four such blocks."""
    room = tmp_path_factory.mktemp(request.param)
    common = ("--dtype", request.param)
    usual = compile_with(checkpoint, room / "usual.sala", *common)
    return usual, compile_with(checkpoint, room / "large.sala", *common, "--page-size", "64")


def test_pages_are_apart_from_blocks(pair: tuple[Path, Path]):
    """Equal bits on both paths of attention, in chunks, batches, decoding, and after a fork."""
    options = {"context": 512, "batch": 2, "sequences": 3, "chunk": 64, "poison": True}
    with (
        sala_compile.load(pair[0], **options) as usual,
        sala_compile.load(pair[1], **options) as large,
    ):
        groups = large.artifact.program.paging.groups
        assert {name: group.tokens for name, group in groups.items()} == {
            **{"kv": 64, "compressed": 64 * 64}
        }
        for length in (1, 15, 16, 50, 63, 64, 65, 130, 300):
            ids = text(usual, length)
            kinds = ("selected_blocks",) if length >= 64 else ()
            found = [model.logits(ids, observe=kinds) for model in (usual, large)]
            if kinds:
                (found[0], one), (found[1], other) = found
                for layer, roles in one["selected_blocks"].items():
                    blocks = other["selected_blocks"][layer]["blocks"]
                    np.testing.assert_array_equal(blocks, roles["blocks"])
            np.testing.assert_array_equal(found[1], found[0])
        decoded = []
        for model in (usual, large):
            with model.sequence() as one, model.sequence() as two:
                one.append(text(model, 100))
                two.append(text(model, 63, seed=1))
                rows = [model.decode([one, two], [5, 6]) for _ in range(3)]
                with one.fork() as three:
                    rows.append(three.append([7, 8])[None])
                decoded.append(np.concatenate(rows))
        np.testing.assert_array_equal(decoded[1], decoded[0])


def test_a_step_costs_the_same_with_pages_of_any_size(pair: tuple[Path, Path]):
    """Block lists name blocks of selection: a larger page is not read more."""
    live = Live(sequences=1, tokens=1, history=400, call_length=401)
    usual, large = (CostModel(open_artifact(path), "cpu").total(live) for path in pair)
    assert large == usual


def test_a_state_file_is_of_no_page_size(pair: tuple[Path, Path], tmp_path: Path):
    for source, target in (pair, pair[::-1]):
        with sala_compile.load(source, context=256) as model, model.sequence() as one:
            one.append(text(model, 150))
            one.save(tmp_path / "x.sala-state")
            wanted = one.append([1, 2, 3])
        with (
            sala_compile.load(target, context=256) as model,
            model.restore(tmp_path / "x.sala-state") as two,
        ):
            np.testing.assert_array_equal(two.append([1, 2, 3]), wanted)


@pytest.mark.parametrize("size", ["32", "48", "256"])
def test_dense_attention_takes_pages_of_any_size(checkpoint: Path, tmp_path: Path, size: str):
    common = ("--attention", "dense", "--dtype", "float32")
    usual = compile_with(checkpoint, tmp_path / "usual.sala", *common)
    other = compile_with(checkpoint, tmp_path / "other.sala", *common, "--page-size", size)
    with (
        sala_compile.load(usual, context=400) as one,
        sala_compile.load(other, context=400, poison=True) as two,
    ):
        assert two.artifact.program.paging.page_tokens == int(size)
        ids = text(one, 333)
        np.testing.assert_allclose(two.logits(ids), one.logits(ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize("size", ["8", "24", "40"])
def test_pages_that_blocks_do_not_fill_are_refused(checkpoint: Path, tmp_path: Path, size: str):
    arguments = [str(checkpoint), "-o", str(tmp_path / "x.sala"), "--page-size", size]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code != 0
    assert "no whole blocks of 16" in str(result.exception) + result.output
