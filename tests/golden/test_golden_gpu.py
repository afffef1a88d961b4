"""A golden checkpoint through the runtime's GPU side, its launches interpreted.

The texts are short, since every program of a launch runs in Triton's interpreter; their logits are
those of the whole prompts, whose tokens see only what is before them. A CPU reads the beginning.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sala_compile
from sala_compile.codegen.kernels.attend_blocks.gpu import kernel as attend
from sala_compile.codegen.kernels.family import KernelFamily
from sala_compile.codegen.kernels.select_blocks.gpu import kernel as select
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.passes.assign_precision import Precision
from sala_compile.runtime.engine.chunk import SequenceChunk
from sala_compile.runtime.generation.generation import GenerationOptions
from sala_compile.runtime.model import Model
from sala_compile.runtime.verify import verify_artifact
from tests.golden.test_golden_bfloat16 import NEAR
from tests.golden.test_golden_float32 import LIMIT
from tests.support.compiled import GOLDEN, compile_checkpoint
from tests.support.emulated_gpu import EmulatedDriver, emulated_code, emulated_gpu
from tests.support.sequences import assert_unused

NAME = "sala-tiny-a"
SPARSE = 66
"""Tokens of a call that is sparse: more than `dense_len`."""


@pytest.fixture(scope="module")
def drivers() -> Iterator[list[EmulatedDriver]]:
    with emulated_gpu() as opened:
        yield opened


@pytest.fixture(scope="module")
def load_gpu(
    tmp_path_factory: pytest.TempPathFactory, drivers: list[EmulatedDriver]
) -> Callable[[Precision], Model]:
    """Give the golden model on an emulated GPU, loaded for one test."""
    folder = tmp_path_factory.mktemp("golden-gpu")

    def load(dtype: Precision) -> Model:
        path = folder / f"{dtype}.sala"
        with emulated_code(), pytest.MonkeyPatch.context() as patch:
            for module in (attend, select):
                patch.setattr(module, "FAMILY", _few_splits(module.FAMILY))
            compile_checkpoint(GOLDEN / NAME, path, dtype=dtype, targets=("cuda:sm_90",))
        return sala_compile.load(path, context=80, batch=3, chunk=4, device="cuda")

    return load


def test_the_golden_step_holds(load_gpu, drivers: list[EmulatedDriver]):
    """New, dense and sparse sequences at once, those with a history over states that are drawn."""
    with load_gpu(Precision.FLOAT32) as model:
        directory = model.artifact.directory
    report = verify_artifact(directory, device="cuda")
    assert report.passed
    assert len(report.results) == 4
    assert all(result.difference < 1e-4 for result in report.results)
    assert drivers[-1].leftovers == []


def _few_splits(family: KernelFamily) -> KernelFamily:
    """Decode of a short text shared by two programs, not by 64: each of them is interpreted."""

    def tiles(spec: Any, target: CudaTarget) -> Any:
        schedule = family.default_schedule(spec, target)
        return replace(schedule, splits=2) if spec.decode else schedule

    return replace(family, tiles=tiles)


def test_both_regimes_forks_and_states(
    load_gpu, load_golden, expected, drivers: list[EmulatedDriver], tmp_path: Path
):
    golden, cpu = expected(NAME), load_golden(NAME)
    text, wanted = golden["p0.input_ids"], golden["p0.prefill_logits"]
    short, others = golden["p1.input_ids"], golden["p1.prefill_logits"]
    with cpu.sequence() as prepared:
        prepared.append(text[:SPARSE])
        prepared.save(tmp_path / "cpu.sala-state")
    with load_gpu(Precision.FLOAT32) as gpu:
        with gpu.restore(tmp_path / "cpu.sala-state") as sparse, gpu.sequence() as dense:
            _assert_close(sparse.last_logits, wanted[SPARSE - 1])
            _assert_close(sparse.append(text[SPARSE : SPARSE + 6]), wanted[SPARSE + 5])
            _assert_close(dense.append(short[:9]), others[8])
            drivers[-1].log.clear()
            with sparse.fork() as fork:
                tokens = [int(text[SPARSE + 6]), int(short[9]), 7]
                rows = gpu.decode([sparse, dense, fork], tokens)
            assert "launch" not in drivers[-1].log, "decode is a replayed graph"
            _assert_close(rows[0], wanted[SPARSE + 6])
            _assert_close(rows[1], others[9])
            assert np.abs(rows[2] - rows[0]).max() > 0.1, "the fork went another way"
            sparse.save(tmp_path / "gpu.sala-state")
            options = GenerationOptions(max_new_tokens=3, ignore_eos=True)
            with gpu.generation(short[10:12], options, sequence=dense, ahead=True) as answer:
                assert list(answer.tokens()) == cpu.generate(short[:12], 3, ignore_eos=True)
            assert dense.samples_min_p
        assert_unused(gpu)
    with cpu.restore(tmp_path / "gpu.sala-state") as continued:
        found = continued.append([int(text[SPARSE + 7])])
        _assert_close(found, wanted[SPARSE + 7])


def test_bfloat16(load_gpu, load_golden, expected, tmp_path: Path):
    golden, cpu = expected(NAME), load_golden(NAME, Precision.BFLOAT16)
    text, short = golden["p0.input_ids"], golden["p1.input_ids"]
    with cpu.sequence() as prepared, load_gpu(Precision.BFLOAT16) as gpu:
        prepared.append(text[:SPARSE])
        prepared.save(tmp_path / "cpu.sala-state")
        with gpu.restore(tmp_path / "cpu.sala-state") as sparse, gpu.sequence() as dense:
            np.testing.assert_array_equal(sparse.last_logits, prepared.last_logits)
            dense.append(short[:3])
            rows = gpu.decode([sparse, dense], [int(text[SPARSE]), int(short[3])])
        rows -= golden["p0.prefill_logits"][SPARSE], golden["p1.prefill_logits"][3]
        assert np.abs(rows).max() < NEAR * golden["p0.prefill_logits"].std()


def test_tokens_to_verify_are_single_steps_in_one_run(
    load_gpu, load_golden, expected, drivers: list[EmulatedDriver], tmp_path: Path
):
    """Sparse and dense, to the bit, in the decode phase, while another sequence is read."""
    golden, cpu = expected(NAME), load_golden(NAME, Precision.BFLOAT16)
    text, short = golden["p0.input_ids"], golden["p1.input_ids"]
    with cpu.sequence() as prepared:
        prepared.append(text[:SPARSE])
        prepared.save(tmp_path / "cpu.sala-state")
    with load_gpu(Precision.BFLOAT16) as gpu:
        for ids in (text[SPARSE : SPARSE + 2], short[:3]):
            sparse = len(ids) == 2
            begin = gpu.restore(tmp_path / "cpu.sala-state") if sparse else gpu.sequence()
            with begin as one, one.fork() as two, gpu.sequence() as other:
                wanted = [gpu.decode([one], [int(token)])[0] for token in ids]
                end = len(two) + len(ids)
                verified = SequenceChunk(two.state, ids, end, True, range(len(ids)))
                drivers[-1].log.clear()
                results = gpu.engine.step([verified, SequenceChunk(other.state, short[:1], 1)])
                log = [name for name in drivers[-1].log if name in ("graph", "launch")]
                assert log[:2] == ["graph", "graph"]
                assert set(log[2:]) == {"launch"}, "read by itself"
                np.testing.assert_array_equal(results[0].checked().logits, wanted)


def _assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=LIMIT)
