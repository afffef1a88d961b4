"""Tuning a small artifact: records, going on, and what compiler and runtime make of them."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import sala_compile
from sala_compile.codegen.cli.compile import command as compile_command
from sala_compile.codegen.cli.tune import command as sala_tune
from sala_compile.codegen.kernels.registry import family
from sala_compile.codegen.kernels.schedules import read_schedules
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.tuning.measurer import TrialEnded, TrialProcess
from sala_compile.codegen.tuning.search import acceptable
from sala_compile.codegen.tuning.tuner import Tuner, TuningJob
from sala_compile.runtime.artifact import Artifact, open_artifact
from sala_compile.runtime.artifact.tuning import (
    KernelBuild,
    KernelTrial,
    TunedCase,
    library_beside,
    read_tuning,
)
from sala_compile.runtime.devices import choose_device
from sala_compile.runtime.devices.cpu.device import CpuDevice
from sala_compile.runtime.errors import ArtifactError, RequestError
from tests.codegen.conftest import Compiled
from tests.support.compiled import compile_checkpoint

IDS = np.arange(40) % 7


@dataclass
class Machine:
    """A measurer for which every first candidate is twice as fast, and every other is slower."""

    artifact: Artifact
    now: float = 0.0

    def kernels(self) -> dict[str, dict[str, float]]:
        """Every kernel of the artifact takes as long."""
        return {kernel.symbol: {"decode": 1.0} for kernel in self.artifact.manifest.kernels}

    def trial(
        self, build: KernelBuild, default: KernelBuild, pairs: int, seconds: float
    ) -> list[KernelTrial]:
        """The first build of a kernel wins, also when it is tried once more at the end."""
        self.now += 1.0
        gain = 2.0 if build.library.stem == "1" else 0.5
        case = TunedCase(
            work="decode", rows=1, default_seconds=1.0, tuned_seconds=1 / gain, clean=8, samples=8
        )
        return [KernelTrial(case, True, 0.0, 1.0)]


def job_for(path: Path, output: Path, **changes: Any) -> TuningJob:
    """Tune everything with one thread."""
    job = TuningJob(open_artifact(path), "cpu", output, threads=1, length=40, seconds=1e6)
    return replace(job, **changes)


FAMILIES = ("linear", "attend_blocks", "select_blocks", "lightning_attention")


@pytest.fixture(scope="module", autouse=True)
def few_candidates() -> Iterator[None]:
    """Two candidates for each kernel: a search of all of them is another test's matter."""
    with pytest.MonkeyPatch.context() as patch:
        for name in FAMILIES:
            module = import_module(f"sala_compile.codegen.kernels.{name}.cpu.axes")

            def few(spec: Any, target: CpuTarget, all_axes: Any = module.axes) -> Any:
                axis = max(all_axes(spec, target), key=lambda each: each.name == "tile")
                return (replace(axis, options=axis.options[:3]),)

            patch.setattr(module, "axes", few)
        yield


def uncompiled(functions: Any, target: CpuTarget, path: Path) -> None:
    """A compiler for machines that only look at names."""


@pytest.fixture(scope="module")
def tuned(compiled: Compiled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tuning of the artifact in which every tunable kernel has other tiles than by default."""
    output = tmp_path_factory.mktemp("tuning") / "small.tuning.json"
    job = job_for(compiled.artifact, output)
    machine = Machine(job.artifact)
    tuner = Tuner(job, machine, clock=lambda: machine.now, compiler=uncompiled)
    for work in tuner.works():
        assert tuner.tune(work, 1.0, lambda schedule, gain: None) is not None
    tuner.finish()
    return output


def test_records_say_what_was_found(tuned: Path, compiled: Compiled):
    tuning = read_tuning(tuned)
    assert tuning.artifact == open_artifact(compiled.artifact).manifest.digest
    families = {record.family for record in tuning.kernels.values()}
    assert families == {"linear", "attend_blocks", "select_blocks", "lightning_attention"}
    for record in tuning.kernels.values():
        assert record.gain == pytest.approx(2.0)
        assert (record.is_default, record.complete, record.refused) == (False, True, 0)
    assert library_beside(tuned).stat().st_size == tuning.library.size


def test_a_search_goes_on_where_it_stopped(compiled: Compiled, tmp_path: Path):
    job = job_for(compiled.artifact, tmp_path / "t.json", seconds=0.5)
    machine = Machine(job.artifact)
    tuner = Tuner(job, machine, clock=lambda: machine.now, compiler=uncompiled)
    works = tuner.works()
    first = works[0]
    assert tuner.tune(first, first.share, lambda schedule, gain: None) is not None
    assert tuner.tune(works[1], 1.0, lambda schedule, gain: None) is None
    record = read_tuning(job.output).kernels[first.kernel.symbol]
    assert not record.complete

    again = Tuner(
        replace(job, seconds=1e6), machine, clock=lambda: machine.now, compiler=uncompiled
    )
    left = again.left(works)
    assert left[-1] is first  # cut short: once more, after those without a record
    assert len(left) == len(works)
    assert again.tune(first, 1.0, lambda schedule, gain: None).complete
    assert first not in again.left(works)
    with pytest.raises(RequestError, match="threads"):
        Tuner(replace(job, threads=2), machine)


def test_a_tuned_library_computes_the_same(tuned: Path, compiled: Compiled):
    with sala_compile.load(compiled.artifact, threads=1) as model:
        expected = model.logits(IDS)
    with sala_compile.load(compiled.artifact, threads=1, tuning=tuned) as model:
        found = model.logits(IDS)
        values = model.artifact.program.values
    plain = open_artifact(compiled.artifact).program.values
    assert any(values[name] != value for name, value in plain.items())  # other workspaces
    assert values.keys() == plain.keys()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_device_is_opened_once_for_a_tuning(
    tuned: Path, compiled: Compiled, monkeypatch: pytest.MonkeyPatch
):
    made: list[CpuDevice] = []

    def make(*arguments: Any) -> CpuDevice:
        made.append(CpuDevice(*arguments))
        return made[-1]

    monkeypatch.setattr(choose_device, "CpuDevice", make)
    with sala_compile.load(compiled.artifact, threads=1, tuning=tuned) as model:
        assert model.info()["target"] == made[0].target
    assert len(made) == 1


def edit(path: Path, folder: Path, change: Any) -> Path:
    """A copy of a tuning, and of its library, after a change of the document."""
    copy = folder / path.name
    document = json.loads(path.read_text())
    change(document)
    copy.write_text(json.dumps(document))
    shutil.copy(library_beside(path), library_beside(copy))
    return copy


def test_workspaces_that_the_library_was_not_compiled_with_are_refused(
    compiled: Compiled, tuned: Path, tmp_path: Path
):
    """Whoever changes the record has not changed the library, which names what it was made for."""

    def smaller(document: dict[str, Any]) -> None:
        for record in document["kernels"].values():
            for space in record["workspaces"]:
                space["shape"][1] = 1

    changed = edit(tuned, tmp_path, smaller)
    with pytest.raises(ArtifactError, match="the workspaces of the tuning are not those"):
        sala_compile.load(compiled.artifact, threads=1, tuning=changed)


def first_schedule(document: dict[str, Any]) -> dict[str, Any]:
    """The schedule of the first linear."""
    records = document["kernels"].values()
    return next(each["schedule"] for each in records if each["family"] == "linear")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(artifact="0" * 64), "another artifact"),
        (lambda d: d.update(target="cpu:x86-64"), "another target"),
        (lambda d: d.update(library=None), "not finished"),
        (lambda d: d["library"].update(sha256="0" * 64), "damaged"),
        (lambda d: d.update(surprise=1), "surprise"),
        (lambda d: d.update(version=9), "version 9"),
    ],
)
def test_a_foreign_or_damaged_tuning_is_not_loaded(
    tuned: Path, compiled: Compiled, tmp_path: Path, change: Any, words: str
):
    with pytest.raises(ArtifactError, match=words):
        sala_compile.load(compiled.artifact, tuning=edit(tuned, tmp_path, change))


def test_the_compiler_takes_the_schedules(tuned: Path, compiled: Compiled, tmp_path: Path):
    result = compile_checkpoint(compiled.checkpoint, tmp_path / "tuned.sala", tuning=tuned)
    count = len(read_tuning(tuned).kernels)
    assert any(f"{count} were tuned, and {count} have" in note for note in result.summary["notes"])
    artifact = open_artifact(tmp_path / "tuned.sala")
    schedules = {kernel.symbol: kernel.schedule for kernel in artifact.manifest.kernels}
    for symbol, record in read_tuning(tuned).kernels.items():
        assert schedules[symbol] == record.schedule
    with (
        sala_compile.load(compiled.artifact, threads=1) as plain,
        sala_compile.load(artifact.directory, threads=1) as model,
    ):
        np.testing.assert_allclose(model.logits(IDS), plain.logits(IDS), atol=1e-4)


def test_the_compiler_says_why_it_takes_none(tuned: Path, tmp_path: Path):
    host = CpuTarget.host()
    other = edit(tuned, tmp_path, lambda d: d.update(processor="cpu:another"))
    schedules, notes = read_schedules(other, host)
    assert not schedules.kernels
    assert "made for cpu:another" in notes[0]
    stale = edit(tuned, tmp_path, lambda d: d["versions"].update({"apache-tvm": "0.26.0"}))
    schedules, notes = read_schedules(stale, host)
    assert not schedules.kernels
    assert "apache-tvm 0.26.0" in notes[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda d: first_schedule(d).update(surprise=1),
        lambda d: first_schedule(d).update(dict.fromkeys(first_schedule(d), "many")),
        lambda d: first_schedule(d).popitem(),
        lambda d: next(iter(d["kernels"].values())).update(spec={"depth": 1}),
        lambda d: next(iter(d["kernels"].values())).update(family="tir"),
        lambda d: next(iter(d["kernels"].values())).update(family="rope"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused_by_name(tuned: Path, tmp_path: Path, change: Any):
    with pytest.raises(ArtifactError, match=r"record of .\w+. makes no sense"):
        read_schedules(edit(tuned, tmp_path, change), CpuTarget.host())


def test_trials_tell_builds_apart(compiled: Compiled, tmp_path: Path):
    """A real process: the same bits from other tiles, others from another kernel, and a death."""
    job = job_for(compiled.artifact, tmp_path / "t.json")
    measurer = TrialProcess(compiled.artifact, "cpu", 1, 40)
    try:
        tuner = Tuner(job, measurer)
        work = next(each for each in tuner.works() if each.kernel.family == "linear")
        build = tuner._builder(work.kernel, tmp_path)
        chosen = family("linear")
        spec = chosen.spec.parse(work.kernel.spec)
        default = chosen.default_schedule(spec, tuner._target)
        other = next(chosen.axes(spec, tuner._target)[0].neighbours(default))
        cases = measurer.trial(build(other), build(default), 3, 1.0)
        assert {each.case.work for each in cases} <= {"prefill", "decode", "logits"}
        assert all(each.equal and 3 <= each.case.samples <= 12 for each in cases)
        assert acceptable(cases, exact=True)

        wrong = dict(work.kernel.spec) | {"scale": 3.0}
        kernel = work.kernel.model_copy(update={"spec": wrong})
        function = chosen.build(wrong, tuner._target).with_attr("global_symbol", kernel.symbol)
        library = tmp_path / "wrong.so"
        from sala_compile.codegen.write.cpu_library import compile_library

        compile_library({kernel.symbol: function}, tuner._target, library)
        cases = measurer.trial(replace(build(default), library=library), build(default), 3, 1.0)
        assert not acceptable(cases, exact=False)

        measurer._process.kill()
        with pytest.raises(TrialEnded):
            measurer.trial(build(default), build(default), 3, 1.0)
        assert measurer.trial(build(default), build(default), 3, 1.0)
    finally:
        measurer.close()


def run(command: Any, *words: Any) -> Result:
    """Run a command."""
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_command_shows_what_is_there_already(compiled: Compiled, tuned: Path, tmp_path: Path):
    output = edit(tuned, tmp_path, lambda d: None)
    arguments = (compiled.artifact, "-o", output, "--threads", 1, "--length", 40)
    result = run(sala_tune, *arguments, "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    done = [entry for entry in document["kernels"] if entry["done"]]
    assert done
    assert all(entry["gain"] == pytest.approx(2.0) for entry in done)
    assert all(entry["default_is_a_bug"] for entry in done)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "cpu:none"), "cpu:none"),
        (("-o", "/nowhere/t.json"), "no directory /nowhere"),
        (("--seconds", "0"), "seconds"),
    ],
)
def test_mistakes_are_told(compiled: Compiled, arguments: tuple[str, ...], words: str):
    result = run(sala_tune, compiled.artifact, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    missing = run(compile_command, compiled.checkpoint, "--dry-run", "--tuning", "missing.json")
    assert missing.exit_code == 2
    assert "missing.json" in missing.stderr


@pytest.mark.parametrize("again", [(), ("--again",)])
def test_nothing_but_an_earlier_tuning_is_replaced(
    compiled: Compiled, tmp_path: Path, again: tuple[str, ...]
):
    (tmp_path / "diary.json").write_text('{"dear": "diary"}')
    (tmp_path / "module.so").write_bytes(b"\x7fELF of somebody else")
    (tmp_path / "pipe.json").symlink_to("/dev/null")
    for name, found in (
        ("diary.json", "the tuning file cannot be used"),
        ("module.json", "another file with the name of its library"),
        ("module.so", "would have the name of its library"),
        ("pipe.json", "a character device is there"),
    ):
        result = run(sala_tune, compiled.artifact, "-o", tmp_path / name, *again)
        assert result.exit_code == 2
        assert found in result.stderr
    assert (tmp_path / "diary.json").read_text() == '{"dear": "diary"}'
    assert (tmp_path / "module.so").read_bytes() == b"\x7fELF of somebody else"
    assert sorted(os.listdir(tmp_path)) == ["diary.json", "module.so", "pipe.json"]


def test_an_earlier_tuning_stays_until_there_is_a_result(
    compiled: Compiled, tuned: Path, tmp_path: Path
):
    output = edit(tuned, tmp_path, lambda d: None)
    library_beside(output).write_bytes(library_beside(tuned).read_bytes())
    before = output.read_bytes()
    job = job_for(compiled.artifact, output, again=True)
    machine = Machine(job.artifact)
    tuner = Tuner(job, machine, clock=lambda: machine.now, compiler=uncompiled)
    assert tuner.tuning.kernels == {}
    assert output.read_bytes() == before
    work = tuner.works()[0]
    assert tuner.tune(work, 1.0, lambda schedule, gain: None) is not None
    assert list(read_tuning(output).kernels) == [work.kernel.symbol]
    assert read_tuning(output).library is None


def test_folders_with_the_names_of_our_packages_are_in_nobodys_way(
    compiled: Compiled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("runtime", "codegen", "passes", "sala_ir", "numpy", "tvm_ffi"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemError('of somebody else')")
    monkeypatch.chdir(tmp_path)
    measurer = TrialProcess(compiled.artifact, "cpu", 1, 40)
    try:
        assert measurer.kernels()
    finally:
        measurer.close()
