"""The tables of counts in the READMEs of kernels name functions that there are."""

import re
from pathlib import Path

import pytest

from benchmarks.gpu.readme_tables import BEGIN, CARDS, END, KERNELS, PHASES, section, write

COUNTED = sorted(path for path in KERNELS.glob("*/README.md") if BEGIN in path.read_text())
ROW = re.compile(rf"\| `(\w+)`, ({'|'.join(PHASES)}) \|(.*)\|$")
CELL = re.compile(r" ?\d+, \d+, \d+(, spills \d+)?; [\d.e+-]+ M; [\d.e+-]+ MB; [\d.e+]+ us \w+ ?")


def test_every_family_that_a_gpu_runs_has_a_table() -> None:
    launching = {
        path.parents[1] if path.parent.name == "gpu" else path.parent
        for path in KERNELS.glob("*/**/*.py")
        if "launch(" in path.read_text() and path.parts[-2] not in ("triton", "tir")
    }
    lacking = {path.name for path in launching} - {path.parent.name for path in COUNTED}
    absent = {
        *("cast", "compress_new_keys", "elementwise", "embedding_integers", "gated_recurrence"),
        *("rope", "short_convolution"),
    }
    assert lacking <= absent, "the released model has none of those"


@pytest.mark.parametrize("path", COUNTED, ids=lambda path: path.parent.name)
def test_rows_name_functions_of_the_family_and_have_every_card(path: Path) -> None:
    sources = [*path.parent.glob("gpu/*.py"), *path.parent.glob("gpu.py")]
    code = "\n".join(source.read_text() for source in sources)
    counted = path.read_text().partition(BEGIN)[2].partition(END)[0]
    rows = [line for line in counted.splitlines() if line.startswith("| `")]
    assert rows
    for line in rows:
        found = ROW.match(line)
        assert found, line
        assert re.search(rf"^@triton.jit\ndef {found[1]}\(", code, re.MULTILINE), found[1]
        cells = found[3].split("|")
        assert len(cells) == len(CARDS)
        assert all(CELL.fullmatch(cell) for cell in cells), line


def test_a_section_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"# k\n\nWords.\n\n{END}\n| `x` |\n")
    old, new = ({("decode", "f"): dict.fromkeys(CARDS, text)} for text in ("old", "new"))
    write(path, old)
    write(path, new)
    assert path.read_text() == f"# k\n\nWords.\n\n{section(new)}{END}\n| `x` |\n"
