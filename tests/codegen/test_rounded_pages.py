"""Models whose full pages are integers: against the reference, in plans, in state files."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.codegen.cli import compile as compile_cli
from sala_compile.codegen.compiler import compile_model
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.passes.assign_precision import AssignPrecision, Precision
from sala_compile.passes.round_pages import PageStorage, RoundPages
from sala_compile.passes.support.quantization import Quantization
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.errors import RequestError, StateFileError
from sala_compile.runtime.verify import verify_artifact
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.context import make_context
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.interpreter import ReferenceModel
from sala_compile.sala_ir.reference import Rounding
from tests.support.checkpoints import VARIATIONS, write_checkpoint
from tests.support.compiled import GOLDEN, compile_checkpoint

CONFIG = Path(__file__).parents[2] / "examples" / "released-config.json"
GIB = 1 << 30


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"), VARIATIONS["group-1-tied"])


def reference(path: Path, storage: PageStorage) -> ReferenceModel:
    found = Checkpoint.open(path)
    frontend = frontend_for(found.config)
    module = frontend.build_module(frontend.parse_config(found.config))
    for item in (AssignPrecision(Precision.FLOAT32), RoundPages(storage)):
        item.apply(make_context(), module)
    return ReferenceModel(module, found, Rounding.ROUNDED)


@pytest.mark.parametrize(
    ("name", "storage"),
    [("group-1-tied", PageStorage.INT4), ("rope-in-sparse", PageStorage.K8V4)],
)
def test_logits_are_the_references(tmp_path: Path, name: str, storage: PageStorage) -> None:
    """Both paths, read and generated, after a fork, a return, and from a file."""
    source = write_checkpoint(tmp_path / "checkpoint", VARIATIONS[name])
    compile_checkpoint(source, tmp_path / "m.sala", kv=storage)
    model_of_reference = reference(source, storage)
    ids = np.random.default_rng(0).integers(4, 131, 150).tolist()
    wanted = np.asarray(model_of_reference.prefill(ids[:110]))
    after = [np.asarray(model_of_reference.decode(token)) for token in ids[110:]]
    options = {"poison": True, "batch": 2, "sequences": 3, "snapshots": 2}
    with sala_compile.load(tmp_path / "m.sala", **options) as model:
        assert np.abs(model.logits(ids[:110]) - wanted).max() < 1e-4
        one = model.sequence()
        one.append(ids[:110])
        one.snapshot()
        first = [one.append([token]) for token in ids[110:]]
        assert max(np.abs(a - b).max() for a, b in zip(first, after, strict=True)) < 1e-4
        one.truncate(110)
        two = one.fork()
        one.save(tmp_path / "x.sala-state")
        three = model.restore(tmp_path / "x.sala-state")
        for sequence in (one, two, three):
            again = [sequence.append([token]) for token in ids[110:]]
            assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
            sequence.close()
    assert verify_artifact(tmp_path / "m.sala").passed


def test_states_of_another_kv_are_refused_by_name(tmp_path: Path, checkpoint: Path) -> None:
    ids = list(range(5, 60))
    for name, kv in (("wide", PageStorage.WIDE), ("int8", PageStorage.INT8)):
        compile_checkpoint(checkpoint, tmp_path / f"{name}.sala", kv=kv)
        with sala_compile.load(tmp_path / f"{name}.sala") as model, model.sequence() as one:
            one.append(ids)
            one.save(tmp_path / f"{name}.sala-state")
            if name == "int8":
                with pytest.raises(StateFileError, match="another --kv: bf16") as caught:
                    model.restore(tmp_path / "wide.sala-state")
                assert "int8 in pages of 32 tokens" in str(caught.value)
    with (
        sala_compile.load(tmp_path / "wide.sala") as model,
        pytest.raises(StateFileError, match="another --kv: int8 in pages of 32 tokens"),
    ):
        model.restore(tmp_path / "int8.sala-state")


def test_a_million_tokens_fit_8_gib() -> None:
    """As the command plans it, all other options at their defaults."""
    options = CompileOptions(
        checkpoint=None,
        output=None,
        config_file=CONFIG,
        quantization=Quantization.INT4_G128,
        kv=PageStorage.INT4,
        context=1 << 20,
        dry_run=True,
    )
    memory = compile_model(options, Silent()).summary["memory"]
    assert memory["total_bytes"] < 8 * GIB
    pages = (1 << 20) // 128
    words, pairs = 128 * 128 // 2, 2 * 2 * 2 * 128
    assert memory["parts"]["kv_pages"] == 8 * 2 * pages * (2 * words + pairs)


def test_the_effect_is_reported(tmp_path: Path) -> None:
    result = compile_checkpoint(
        GOLDEN / "sala-tiny-a", tmp_path / "m.sala", kv=PageStorage.INT4, dtype=Precision.BFLOAT16
    )
    found = open_artifact(tmp_path / "m.sala").manifest.kv
    assert found is not None
    assert found.effect is not None
    assert 0 < found.effect.rms < found.effect.deviation
    assert str(found) in result.summary["notes"]
    assert result.summary["kv"] == "int4"


def test_gpus_refuse_it(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(RequestError, match="GPUs read no rounded pages"):
        compile_checkpoint(
            checkpoint, tmp_path / "m.sala", kv=PageStorage.INT4, targets=("cpu", "cuda:sm_90")
        )


def test_the_command_refuses_pages_that_words_do_not_fill(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path, VARIATIONS["heads-12-biases"])
    arguments = [str(source), "--dry-run", "--kv", "int8"]
    result = CliRunner().invoke(compile_cli.command, arguments)
    assert result.exit_code != 0
    assert "10 columns in a head cannot be rounded" in result.output
