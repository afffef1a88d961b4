"""What the documents name is there: files, modules, and options of the commands."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from sala_compile.codegen.cli import compile, tune
from sala_compile.runtime.cli import bench, inspect, run
from sala_compile.sala_ir.checkpoint.gguf.block_integers import BLOCK_FORMATS
from sala_compile.sala_ir.checkpoint.gguf.stored_types import FLOATS, OTHERS
from sala_compile.sala_ir.checkpoint.gguf.tensor_names import NAMES
from sala_compile.sala_ir.frontends import FRONTENDS

ROOT = Path(__file__).resolve().parent.parent
COMMANDS: dict[str, click.Command] = {
    "sala-compile": compile.command,
    "sala-run": run.command,
    "sala-inspect": inspect.command,
    "sala-bench": bench.command,
    "sala-tune": tune.command,
}
PACKAGES = ("benchmarks", "codegen", "docs", "examples", "passes", "runtime", "sala_ir", "tests")
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(path for name in PACKAGES for path in (ROOT / name).rglob("*.md"))]
)


def _named(document: Path) -> Iterator[str]:
    """Paths that a document names: its links, and sources with a folder."""
    text = document.read_text(encoding="utf-8")
    yield from (link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link)
    yield from re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|md|c|ll|mlir|json))`", text)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(document: Path):
    places = (document.parent, ROOT)
    missing = [name for name in _named(document) if not any((p / name).exists() for p in places)]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_that_a_document_runs_exist(document: Path):
    modules = re.findall(r"python -m ([\w.]+\w)", document.read_text(encoding="utf-8"))
    modules = [name.removeprefix("sala_compile.") for name in modules]
    own = [name for name in modules if name.split(".")[0] in PACKAGES]
    missing = [name for name in own if not _is_module(ROOT.joinpath(*name.split(".")))]
    assert missing == []


def _is_module(place: Path) -> bool:
    return place.with_suffix(".py").exists() or (place / "__main__.py").exists()


def test_documents_list_the_families_that_there_are():
    supported = (ROOT / "docs" / "supported.md").read_text(encoding="utf-8")
    _, *families = re.findall(r"^\| `(\w+)` \|", supported, re.MULTILINE)
    assert families == list(FRONTENDS)
    (models,) = re.findall(
        r"^\| models \|(.*)", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert re.findall(r"`(\w+)`", models) == list(FRONTENDS)


def test_lines_of_families_are_about_what_contributing_says():
    """Within a tenth, for every family that it counts."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    counted = {name: int(n) for name, n in re.findall(r"`(\w+)/` \((\d+)\)", text)}
    assert len(counted) >= 8
    for name, said in counted.items():
        folder = ROOT / "sala_ir" / "frontends" / name
        lines = sum(
            len(path.read_text(encoding="utf-8").splitlines()) for path in folder.glob("*.py")
        )
        assert abs(lines - said) <= said / 10, f"{name} has {lines} lines"


def test_options_that_a_document_gives_a_command_exist():
    found = 0
    for document in DOCUMENTS:
        for line in document.read_text(encoding="utf-8").splitlines():
            for name, rest in re.findall(r"(sala-[a-z]+)((?:(?!sala-[a-z]|python -m).)*)", line):
                options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest))
                if name in COMMANDS:
                    known = {text for p in COMMANDS[name].params for text in p.opts} | {"--help"}
                    assert options <= known, f"{document}: {line}"
                    found += len(options)
    assert found > 30


def test_every_option_says_what_it_is_for():
    for name, command in COMMANDS.items():
        for option in command.params:
            if isinstance(option, click.Option):
                text = re.sub(r"\[default: .*\]", "", option.help or "").strip()
                assert text.endswith("."), f"{name} {option.opts[0]}"


def test_documents_list_the_gguf_files_that_are_read():
    """Architectures, types and the encodings that hold them, those that need --requantize."""
    supported = (ROOT / "docs" / "supported.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"of architecture (.*?) is a checkpoint too", supported)
    assert re.findall(r"`(\w+)`", sentence) == list(NAMES)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"GGUF files of ((?:`\w+`(?:, )?)+)", readme)
    assert re.findall(r"`(\w+)`", listed) == list(NAMES)
    table = supported.partition("| types of its tensors |")[2].partition("\n\n")[0]
    rows = dict(re.findall(r"^\| ([\w, ]+) \| (.*?) \|$", table, re.MULTILINE))
    assert rows.pop(", ".join(FLOATS)) == "values of `--dtype`"
    found = {kind: label.strip("`") for kinds, label in rows.items() for kind in kinds.split(", ")}
    assert found == {kind: each.encoding.label for kind, each in BLOCK_FORMATS.items()}
    (others,) = re.findall(r"Other types that the package gguf reads\s+\((.*?)\)", supported)
    assert others == ", ".join(OTHERS)
