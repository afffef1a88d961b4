"""The runtime on an emulated GPU: the same program, plan and state code as on the CPU."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.runtime.cli import inspect, run
from sala_compile.runtime.devices.cuda import opening
from sala_compile.runtime.devices.cuda.device import RESERVE_BYTES
from sala_compile.runtime.devices.cuda.driver import GpuProperties
from sala_compile.runtime.errors import ArtifactError, DeviceError, MemoryBudgetError, RequestError
from sala_compile.runtime.generation.sampling import Draw
from sala_compile.runtime.model import Model
from sala_compile.runtime.verify import verify_artifact
from tests.support import emulated_gpu as emulation
from tests.support.emulated_gpu import EmulatedDriver, emulated_gpu
from tests.support.handmade import VOCABULARY, expected_logits
from tests.support.handmade_gpu import write_handmade_gpu
from tests.support.sequences import assert_unused

IDS = [5, 4, 8, 2, 1, 7, 7, 3, 9, 11, 2]


def test_logits_are_those_of_the_cpu(model: Model):
    np.testing.assert_array_equal(model.logits(IDS), expected_logits(IDS))
    np.testing.assert_array_equal(model.logits(IDS, chunk=3), expected_logits(IDS))
    assert_unused(model)


def test_a_tuning_of_a_processor_opens_no_gpu(
    handmade_gpu: Path, drivers: list[EmulatedDriver], tmp_path: Path
):
    with pytest.raises(RequestError, match="kernels of a processor"):
        sala_compile.load(handmade_gpu, device="cuda", tuning=tmp_path / "x.tuning.json")
    assert drivers == []


def test_decode_replays_a_graph_for_each_bucket(model: Model, drivers: list[EmulatedDriver]):
    texts = [list(IDS), [3, 1], [9, 2, 6, 6, 6, 6]]
    sequences = [model.sequence() for _ in texts]
    for sequence, ids in zip(sequences, texts, strict=True):
        sequence.append(ids)
    log = drivers[0].log
    for token in (4, 5, 6):
        log.clear()
        found = model.decode(sequences, [token] * 3)
        for ids, row, length in zip(texts, found, map(len, sequences), strict=True):
            ids.append(token)
            wanted = np.cumsum(ids)[-1] + 64 * ids[0] + 1024 * length
            np.testing.assert_array_equal(row, -np.abs(np.arange(VOCABULARY) - wanted % 29))
    assert [name for name in log if name not in ("copy", "copy_in")] == [
        *("wait", "graph", "graph", "copy_out", "synchronize")
    ]
    assert log.count("copy_in") == 1 + 2, "one block of inputs, and two tables have a new page"
    for width in (1, 2):
        model.decode(sequences[:width], [1] * width)
    assert log.count("capture") == 1, "logits of two rows; those of one are known from the prompts"
    assert log.count("graph") == 2 + 4


ON_THE_HOST: list[dict[str, Any]] = [
    {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    {"logit_bias": {3: 5.0}},
    {"temperature": 4.0, "min_p": 0.5, "seed": 3},
]
"""What the hand-made kernel, of a program without min_p, leaves to the host."""


def test_only_sampled_tokens_come_back(model: Model, drivers: list[EmulatedDriver], handmade_gpu):
    with sala_compile.load(handmade_gpu, device="cpu") as cpu:
        wanted = cpu.generate(IDS, max_new_tokens=6, ignore_eos=True)
        drawn = cpu.generate(IDS, 6, temperature=4.0, seed=7, ignore_eos=True)
        penalised = cpu.generate(IDS, 6, repetition_penalty=1.5, ignore_eos=True)
        others = [cpu.generate(IDS, 6, ignore_eos=True, **options) for options in ON_THE_HOST]
    assert model.generate(IDS, max_new_tokens=6, ignore_eos=True) == wanted
    assert model.generate(IDS, 6, temperature=4.0, seed=7, ignore_eos=True) == drawn
    assert len(set(drawn)) > 1
    copies: list[int] = []
    copy_out = drivers[0].copy_out

    def counted(target: int, source: int, size: int, stream: int) -> None:
        copies.append(size)
        copy_out(target, source, size, stream)

    drivers[0].copy_out = counted  # type: ignore[method-assign]
    model.generate(IDS, max_new_tokens=6, ignore_eos=True)
    assert copies == [8] * 6
    assert model.generate(IDS, 6, repetition_penalty=1.5, ignore_eos=True) == penalised
    for options, tokens in zip(ON_THE_HOST, others, strict=True):
        copies.clear()
        assert model.generate(IDS, 6, ignore_eos=True, **options) == tokens
        assert min(copies) > 8, "whole rows of logits come back"


def test_logits_that_are_no_numbers_are_told(model: Model):
    with model.sequence() as sequence:
        sequence.append(IDS)
        bias = model.memory.read_rows("bias", range(32))
        bias[3] = np.nan
        model.memory.write_rows("bias", range(32), bias)
        with pytest.raises(ArtifactError, match="not a number"):
            model.generate([1, 2], 3)
        bias[3] = 0
        model.memory.write_rows("bias", range(32), bias)


def test_forks_snapshots_and_prefixes(handmade_gpu: Path, drivers: list[EmulatedDriver]):
    options = {"sequences": 4, "snapshots": 2, "prefix_cache": "64K", "snapshot_every": 4}
    with (
        sala_compile.load(handmade_gpu, device="cuda", **options) as model,
        model.sequence() as one,
    ):
        one.append(IDS)
        with one.fork() as two:
            wanted = one.append([3])
            np.testing.assert_array_equal(two.last_logits, expected_logits(IDS)[-1])
            np.testing.assert_array_equal(two.append([3]), wanted)
        one.snapshot()
        one.append([8, 8])
        one.truncate(12)
        np.testing.assert_array_equal(one.last_logits, wanted)
        with model.sequence() as three:
            three.append(IDS)
            assert three.prefix_report is not None
            assert three.prefix_report.reused_tokens == 8


def test_counters_and_budget_are_the_gpus(handmade_gpu: Path, drivers: list[EmulatedDriver]):
    with sala_compile.load(handmade_gpu, device="cuda") as model:
        memory = model.info()["memory"]
        held = sum(block.nbytes for block in drivers[0].memory.values())
        assert memory["total_bytes"] == memory["planned_bytes"] == held
        assert model.info()["device"].startswith("Emulated GPU (sm_90)")
    with pytest.raises(MemoryBudgetError, match="would fit"):
        sala_compile.load(handmade_gpu, device="cuda", context="128M")
    assert drivers[1].closed
    with sala_compile.load(handmade_gpu, device="cuda", memory=memory["total_bytes"] - 1) as model:
        assert model.context == 60


def test_weights_come_with_progress(handmade_gpu: Path, drivers: list[EmulatedDriver]):
    told: list[tuple[int, int]] = []
    with sala_compile.load(
        handmade_gpu, device="cuda", progress=lambda done, total: told.append((done, total))
    ):
        assert told == [(128, 128)]


def test_poison_shows_stale_reads(model: Model):
    model.logits(IDS)
    memory = model.memory
    memory.poison_arena()
    assert np.isnan(memory.read_rows("hidden", [0, 1])).all()
    for name in ("ids", "sum"):
        assert np.isnan(memory.read_rows(name, [0, 1])).all(), "freed rows are poisoned"


def test_observed_values_are_copied_between_steps(model: Model):
    _, observed = model.logits(IDS, observe=("hidden",))
    wanted = np.cumsum(IDS) + 64 * IDS[0] + 1024 * len(IDS)
    np.testing.assert_array_equal(observed["hidden"][0][:, 0], wanted)


def test_a_failing_gpu_breaks_the_sequences_of_the_call(
    model: Model, drivers: list[EmulatedDriver], monkeypatch: pytest.MonkeyPatch
):
    one, two = model.sequence(), model.sequence()
    one.append(IDS)
    two.append(IDS)

    def fail(_: object) -> None:
        raise DeviceError("the GPU failed: as asked")

    drivers[0].fail = fail
    with pytest.raises(DeviceError, match="as asked"):
        model.decode([one, two], [1, 1])
    drivers[0].fail = None
    one.truncate(0)
    one.append(IDS)
    tokens = one.run_ahead(3, iter([Draw(0, 1, 0, 0)] * 2), 1)
    monkeypatch.setattr(drivers[0], "wait", fail)  # what a launch did shows when it is awaited
    with pytest.raises(DeviceError, match="as asked"):
        next(tokens)
    monkeypatch.undo()
    for sequence in (one, two):
        with pytest.raises(RequestError, match="was interrupted"):
            sequence.append([1])
        sequence.truncate(0)
        np.testing.assert_array_equal(sequence.append(IDS), expected_logits(IDS)[-1])


def test_an_interrupted_call_returns_to_its_snapshot(model: Model, drivers: list[EmulatedDriver]):
    with model.sequence() as sequence:
        sequence.append(IDS)
        sequence.snapshot()

        def interrupt(work: emulation.Work) -> None:
            raise KeyboardInterrupt

        drivers[0].fail = interrupt
        with pytest.raises(KeyboardInterrupt):
            sequence.append([1, 2])
        drivers[0].fail = None
        np.testing.assert_array_equal(sequence.last_logits, expected_logits(IDS)[-1])
        assert len(sequence) == len(IDS)


CAPTURE = [
    (call, behind, usual)
    for call in ("begin_capture", "launch", "end_capture")
    for behind in (False, True)
    for usual in (False, True)
    if usual or not behind or call != "end_capture"  # the driver gave a graph that nobody has yet
]


@pytest.mark.parametrize(("call", "behind", "usual"), CAPTURE)
def test_a_capture_may_be_interrupted_anywhere(
    model: Model,
    drivers: list[EmulatedDriver],
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    behind: bool,
    usual: bool,
):
    """By Ctrl-C, which waits for the end of a capture, or by a handler of the user's that raises.

    It comes before or behind each call of the driver while the first decode step is captured.
    """
    driver, come = drivers[0], iter([True])
    original = getattr(driver, call)

    def interrupted(*arguments: object) -> object:
        due = call != "launch" or driver.captured is not None
        if due and not behind and next(come, False):
            signal.raise_signal(signal.SIGINT)
        result = original(*arguments)
        if due and behind and next(come, False):
            signal.raise_signal(signal.SIGINT)
        return result

    def handler(*_: object) -> None:
        raise TimeoutError("as asked")

    with model.sequence() as one:
        one.append(IDS)
        one.snapshot()
        monkeypatch.setattr(driver, call, interrupted)
        before = signal.getsignal(signal.SIGINT)
        if not usual:
            signal.signal(signal.SIGINT, handler)
        try:
            with pytest.raises(KeyboardInterrupt if usual else TimeoutError):
                one.append([3])
        finally:
            signal.signal(signal.SIGINT, before)
        assert driver.captured is None
        np.testing.assert_array_equal(one.append([3]), expected_logits([*IDS, 3])[-1])


def test_shared_memory_beyond_a_block_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(emulation, "SHARED_BYTES", 100 << 10)
    artifact = write_handmade_gpu(tmp_path / "ampere.sala", 86)
    ampere = GpuProperties("Emulated A40", (8, 6), 100 << 10, 1 << 30)
    with emulated_gpu(properties=ampere), sala_compile.load(artifact, device="cuda") as model:
        np.testing.assert_array_equal(model.logits(IDS), expected_logits(IDS))
    smaller = replace(ampere, capability=(8, 9), shared_bytes=99 << 10)
    with emulated_gpu(properties=smaller) as opened:
        with pytest.raises(ArtifactError, match="a block of Emulated A40 has 101376") as caught:
            sala_compile.load(artifact, device="cuda")
        assert "--target cuda:sm_89" in str(caught.value)
        assert opened[0].leftovers == []


def test_without_a_sample_phase_the_host_chooses(tmp_path: Path, drivers: list[EmulatedDriver]):
    artifact = write_handmade_gpu(tmp_path / "plain.sala", samples=False)
    with sala_compile.load(artifact) as cpu, sala_compile.load(artifact, device="cuda") as gpu:
        assert gpu.generate(IDS, 4, ignore_eos=True) == cpu.generate(IDS, 4, ignore_eos=True)


def test_the_commands_take_a_device(handmade_gpu: Path, drivers: list[EmulatedDriver]):
    arguments = [str(handmade_gpu), "--ids", "5,4,8", "--max-tokens", "3", "--ignore-eos", "--json"]
    told = [
        json.loads(CliRunner().invoke(run.command, [*arguments, "--device", device]).stdout)
        for device in ("cpu", "cuda")
    ]
    assert told[0]["text"] == told[1]["text"]
    assert [each["target"] for each in told] == ["cpu", "cuda:sm_90"]
    assert told[1]["device"] == "Emulated GPU (sm_90), driver for CUDA 13.0"


def test_memory_of_a_gpu_is_planned_with_and_without_one(handmade_gpu: Path):
    arguments = [str(handmade_gpu), "--memory", "--device", "cuda", "--context", "64", "--json"]
    with emulated_gpu(), sala_compile.load(handmade_gpu, device="cuda", context=64) as model:
        held = model.info()["memory"]
        planned = json.loads(CliRunner().invoke(inspect.command, arguments).stdout)["memory"]
    assert planned["total_bytes"] == held["total_bytes"]
    assert planned["parts"] == held["parts"]
    assert planned["machine_bytes"] == (1 << 30) - RESERVE_BYTES
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "LIBRARY", "libcuda-of-nobody.so.1")
        without = json.loads(CliRunner().invoke(inspect.command, arguments).stdout)["memory"]
    assert without == planned | {"machine_bytes": None} | {
        "largest_context": planned["largest_context"][1:]
    }


def test_the_golden_vectors_hold_on_the_gpu(handmade_gpu: Path, drivers: list[EmulatedDriver]):
    report = verify_artifact(handmade_gpu, device="cuda")
    assert report.passed
    assert drivers[0].log.count("launch") >= 2  # alone, and all sequences of the golden step
    assert drivers[0].leftovers == []
