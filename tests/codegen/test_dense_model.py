"""A dense model has keys and values and nothing else: no compressed keys are planned or shown."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli.compile import command
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.cli import inspect
from tests.support.checkpoints import SPARSE, tiny_config, write_checkpoint
from tests.support.sequences import text, used


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("dense")
    config = tiny_config(mixer_types=[SPARSE] * 3, attn_use_rope=True)
    write_checkpoint(room / "checkpoint", config)
    path = room / "dense.sala"
    arguments = [room / "checkpoint", "-o", path, "--attention", "dense", "--dtype", "float32"]
    result = CliRunner().invoke(command, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    assert "compressed" not in result.output
    assert "recurrent" not in result.output
    return path


def test_the_program_has_one_page_group(artifact: Path):
    opened = open_artifact(artifact)
    program = opened.program
    assert [*program.paging.groups] == ["kv"]
    assert program.paging.tables.keys() == {"page_table"}
    assert not [name for name in program.values if "compressed" in name]
    assert {pool.memory for pool in program.pools.values()} == {"kv_pages"}
    assert [(path.first_length, path.name) for path in program.paths] == [(0, "dense")]
    mentioned = program.targets["cpu"].mentioned()
    unread = {n for n, v in program.values.items() if v.kind == "input"} - mentioned
    assert unread <= {"control", "tokens", "logit_rows"}


def test_nothing_else_is_planned_or_shown(artifact: Path):
    runner = CliRunner()
    shown = runner.invoke(inspect.command, [str(artifact), "--memory"]).output
    assert "KV pages" in shown
    assert "compressed" not in shown
    assert "recurrent" not in shown
    written = runner.invoke(inspect.command, [str(artifact), "--memory", "--json"]).output
    assert '"kv_pages"' in written
    assert "compressed" not in written
    assert "recurrent" not in written


def test_nothing_else_is_reserved_or_evicted(artifact: Path):
    with sala_compile.load(
        artifact, context=256, batch=2, sequences=3, prefix_cache="256KiB", poison=True
    ) as model:
        assert set(model.plan.parts) == {"weights", "kv_pages", "arena", "inputs"}
        with model.sequence() as one, model.sequence() as two:
            ids = text(model, 150)
            logits = one.append(ids)
            held = used(model)
            assert set(held) == {"sequences", "snapshots", "kv"}
            np.testing.assert_array_equal(two.append(ids), logits)
            assert two.prefix_report is not None
            assert two.prefix_report.reused_tokens == 128
        assert [*model.info()["pages"]] == ["kv"]
