"""What is written while calls fail: each scenario writes old things, or new ones in their place."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sala_compile import load
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.tuning import record
from sala_compile.codegen.tuning.record import TuningFile
from sala_compile.runtime.artifact.outputs import OutputRule
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.artifact.tuning import TunedKernel, Tuning
from sala_compile.runtime.errors import StateFileError
from sala_compile.runtime.serving.kept.kept_file import read_kept_header, read_kept_pieces
from sala_compile.runtime.serving.kept.kept_folder import KeptFolder
from sala_compile.runtime.serving.kept.prefix_writer import PrefixWriter, PrefixWriting
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
from tests.support.compiled import compile_checkpoint
from tests.support.handmade import write_handmade
from tests.support.kept_files import IDENTITY, contents, header

Step = Callable[[Path], object]
SYMBOLS = ("one_kernel", "another")


@dataclass(frozen=True)
class Scenario:
    """`old` makes what stands there first; `steps` are the writes whose failures are tried.

    Between two steps, and at the end, the folder holds what is whole; `pace` tries every so many
    calls only. `view` says what that is, if not all files that are there.
    """

    old: Step
    steps: tuple[Step, ...]
    pace: int = 1
    view: Callable[[Path], dict[str, bytes | str | None]] | None = None

    def new(self, folder: Path) -> None:
        """All steps."""
        for step in self.steps:
            step(folder)


def artifact(work: Path) -> Scenario:
    """The writer of artifacts."""
    return Scenario(
        lambda folder: write_handmade(folder / "a.sala"),
        (lambda folder: write_handmade(folder / "a.sala", context=32),),
        pace=2,
    )


def compilation(work: Path) -> Scenario:
    """The compiler, whose kernels this process has compiled before."""
    config = tiny_config(mixers=(LIGHTNING,), hidden=32, heads=2, kv_heads=1)
    checkpoint = write_checkpoint(work / "checkpoint", config)

    def compiled(context: int) -> Step:
        return lambda folder: compile_checkpoint(checkpoint, folder / "a.sala", context=context)

    return Scenario(compiled(512), (compiled(1024),), pace=59)


def state(work: Path) -> Scenario:
    """A state file of a loaded model."""
    config = tiny_config(mixers=(SPARSE, LIGHTNING), hidden=32, heads=2, kv_heads=1)
    compile_checkpoint(write_checkpoint(work / "checkpoint", config), work / "model.sala")
    model = load(work / "model.sala", threads=1, sequences=2)
    before, after = model.sequence(), model.sequence()
    before.append([1, 2, 3])
    after.append([4, 5, 6, 7, 8])
    return Scenario(
        lambda folder: before.save(folder / "a.sala-state"),
        (lambda folder: after.save(folder / "a.sala-state"),),
    )


def tuning(work: Path) -> Scenario:
    """A tuning file with its library, and the end of a search that replaces both."""

    def compiled(functions: object, target: object, path: Path, contract: object) -> bytes:
        data = b"\x7fELF" + repr(functions).encode() * 5000
        write_whole(path, data, 0o755)
        return data

    record.compile_library = compiled
    target = CpuTarget("x86-64")

    def begun(folder: Path, seconds: float) -> tuple[TuningFile, Tuning]:
        file = TuningFile(folder / "a.tuning.json", SYMBOLS, again=False)
        return file, file.begun(_tuning(seconds)).model_copy(update={"kernels": _kernels(seconds)})

    def found(seconds: float) -> Step:
        def step(folder: Path) -> None:
            file, tuned = begun(folder, seconds)
            file.write(tuned.model_copy(update={"library": None}))

        return step

    def library(seconds: float) -> Step:
        return lambda folder: begun(folder, seconds)[0].write_library(
            dict.fromkeys(SYMBOLS, seconds), target, contract=None
        )

    def finished(seconds: float) -> Step:
        def step(folder: Path) -> None:
            file, tuned = begun(folder, seconds)
            info = file.write_library(dict.fromkeys(SYMBOLS, seconds), target, contract=None)
            file.write(tuned.model_copy(update={"library": info}))

        return step

    return Scenario(finished(1.0), (found(2.0), library(2.0), finished(2.0)), pace=3)


def picture(work: Path) -> Scenario:
    """A file of a command, behind a link."""
    rule = OutputRule(what="the file")

    def drawn(data: bytes) -> Step:
        def step(folder: Path) -> None:
            if not (folder / "a.svg").is_symlink():
                (folder / "a.svg").symlink_to("b.svg")
            rule.check(folder / "a.svg")
            rule.write(folder / "a.svg", data)

        return step

    return Scenario(drawn(b"old" * 1000), (drawn(b"new" * 100_000),))


def prefixes(work: Path) -> Scenario:
    """Kept prefixes, which the next server cleans of what is torn."""
    return Scenario(
        _kept("a", 0, 64),
        (_kept("b", 0, 64), _kept("c", 64, 128, "b")),
        pace=5,
        view=_whole_prefixes,
    )


def _kept(key: str, begin: int, end: int, parent: str = "") -> Step:
    """Writes a prefix if it is not there."""
    pages, after = header("pages", key, begin, end, parent), header("state", key, end, end, key)
    pieces = [contents(n, size) for each in (pages, after) for n, size in enumerate(each.sizes)]

    def step(folder: Path) -> None:
        kept = KeptFolder(folder / "prefixes", 1 << 20, IDENTITY)
        try:
            above = kept.pages(header("pages", parent, 0, 1)) if parent else None
            writer = PrefixWriter(kept, lambda: None)
            if kept.state(after) is None:
                for item in (PrefixWriting(pages, after, above), *pieces, True):
                    writer.put(item)
            writer.stop()
            if kept.state(after) is None:
                raise StateFileError("it was not written")
        finally:
            kept.close()

    return step


def _whole_prefixes(folder: Path) -> dict[str, bytes | str | None]:
    """What the next server finds: the contents of states, and of the pages before them."""
    if not (folder / "prefixes").exists():
        return {}
    kept = KeptFolder(folder / "prefixes", 1 << 20, IDENTITY)
    found: dict[str, bytes | str | None] = {}
    for path in (folder / "prefixes").glob("*.state"):
        after = kept.state(read_kept_header(path))
        assert after is not None
        for each in (*(pages.header for pages in after.ancestry()), after.header):
            found[each.name] = b"".join(map(bytes, read_kept_pieces(kept.path(each), each)))
    kept.close()
    return found


SCENARIOS = {
    each.__name__: each for each in (artifact, compilation, state, tuning, picture, prefixes)
}


def _tuning(seconds: float) -> Tuning:
    return Tuning(
        artifact="a",
        target="cpu",
        processor="cpu:x86-64",
        dtype="float32",
        threads=1,
        length=8,
        versions={},
    )


def _kernels(seconds: float) -> dict[str, TunedKernel]:
    kernel = TunedKernel(
        family="linear",
        spec={},
        schedule={"seconds": seconds},
        is_default=True,
        workspaces=(),
        cases=(),
        differs=0.0,
        tried=1,
        refused=0,
        complete=True,
    )
    return dict.fromkeys(SYMBOLS, kernel)
