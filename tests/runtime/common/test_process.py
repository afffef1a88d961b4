"""How commands end: streams that are closed or full, a reader that goes away, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

MAIN = "import sys; from sala_compile.runtime.cli.{} import main; main()"
TALKS = """
import sys, click
from sala_compile.runtime.common.process import run_command
@click.command()
@click.argument("count", type=int)
def command(count):
    for number in range(count):
        print("a line of text that says nothing", number)
    {}
run_command(command, "talker")
"""


def _python(code: str, *words: object, **how: Any) -> subprocess.Popen[str]:
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL} | how
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], text=True, **how)


def _ends(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, notes = process.communicate(timeout=300)
    assert "Traceback" not in (notes or "")
    assert "Exception ignored" not in (notes or "")
    return process.returncode, out or "", notes or ""


@pytest.mark.parametrize("command", ["inspect", "run"])
def test_a_full_output_is_one_message(handmade: Path, command: str):
    words = ["--ids", "1,2"] if command == "run" else []
    with open("/dev/full", "w") as full:
        code, _, notes = _ends(_python(MAIN.format(command), handmade, *words, stdout=full))
    assert code == 2
    assert f"sala-{command}: standard output cannot be written: No space left" in notes


@pytest.mark.parametrize("count", [1, 100_000])
def test_an_output_that_fails_late_or_early_is_one_message(count: int):
    with open("/dev/full", "w") as full:
        code, _, notes = _ends(_python(TALKS.format("pass"), count, stdout=full))
    assert code == 2
    assert notes.count("standard output cannot be written") == 1


def test_a_closed_output_is_told_before_the_work(handmade: Path):
    code, _, notes = _ends(
        _python(MAIN.format("inspect"), handmade, stdout=None, preexec_fn=lambda: os.close(1))
    )
    assert code == 2
    assert notes.startswith("sala-inspect: standard output is closed\n")


def test_a_reader_that_goes_away_ends_the_command_silently():
    process = _python(TALKS.format("pass"), 1_000_000)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("a line")
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(60) == 141


@pytest.mark.parametrize("descriptor", [0, 2])
def test_closed_input_and_notes_change_nothing(handmade: Path, descriptor: int):
    name = {0: "stdin", 2: "stderr"}[descriptor]
    how = {name: None, "preexec_fn": lambda: os.close(descriptor)}
    words = (handmade, "--ids", "1,2", "--max-tokens", "2", "--ignore-eos")
    code, out, _ = _ends(_python(MAIN.format("run"), *words, **how))
    assert code == 0
    assert len(out.split()) == 2


def test_notes_that_cannot_be_written_change_nothing(handmade: Path):
    with open("/dev/full", "w") as full:
        words = (handmade, "--ids", "1,2", "--max-tokens", "2", "--ignore-eos")
        code, out, _ = _ends(_python(MAIN.format("run"), *words, stderr=full))
        assert (code, len(out.split())) == (0, 2)
        assert _ends(_python(MAIN.format("run"), "absent.sala", stderr=full))[0] == 2


def test_a_terminal_of_few_characters_gets_what_it_can_show():
    code = TALKS.format("print('you: \\u4f60\\u597d \\udcff')")
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    assert _ends(_python(code, 0, env=environment))[:2] == (0, "you: ?? ?\n")


def test_json_keeps_every_character_whatever_the_encoding():
    code = TALKS.format(
        "from sala_compile.runtime.cli.common import print_json; "
        "print_json({'text': '\\u4f60\\U0001f600'})"
    )
    for encoding in ("ascii", "utf-8"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        found = _ends(_python(code, 0, env=environment, encoding=encoding))
        assert json.loads(found[1]) == {"text": "\u4f60\U0001f600"}


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_clean_up(tmp_path: Path, number: int, code: int):
    work = (
        "import time; from pathlib import Path; "
        "from sala_compile.runtime.artifact.staging import staged_file\n"
        f"    with staged_file(Path({str(tmp_path)!r}) / 'a'):\n"
        "        print('ready', flush=True); time.sleep(600)"
    )
    # Whoever runs the tests may ignore hang-ups (nohup), and that is inherited.
    process = _python(
        TALKS.format(work), 0, preexec_fn=lambda: signal.signal(number, signal.SIG_DFL)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(os.listdir(tmp_path)) == 1
    process.send_signal(number)
    found, _, notes = _ends(process)
    assert found == code
    assert os.listdir(tmp_path) == []
    assert ("talker: interrupted" in notes) == (number == signal.SIGINT)


@pytest.mark.parametrize("moment", ["compiler", "artifact"])
def test_an_interrupted_compilation_ends_with_130_and_leaves_nothing(tmp_path: Path, moment: str):
    """While the compiler is loaded, and while the artifact is written."""
    checkpoint = Path(__file__).parents[3] / "examples" / "needle" / "checkpoint"
    code = "import sala_compile.codegen.cli; sala_compile.codegen.cli.sala_compile()"
    process = _python(code, checkpoint, "-o", tmp_path / "a.sala")
    maps = Path(f"/proc/{process.pid}/maps")
    while process.poll() is None:
        if "libtvm" in maps.read_text() if moment == "compiler" else os.listdir(tmp_path):
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert _ends(process)[0] == 130
    assert os.listdir(tmp_path) == []


def test_exit_codes_and_usage_are_those_of_click(handmade: Path):
    code, _, notes = _ends(_python(MAIN.format("inspect"), handmade, "--nonsense"))
    assert code == 2
    assert "No such option" in notes
    code, out, _ = _ends(_python(MAIN.format("inspect"), "--version"))
    assert code == 0
    assert out.startswith("sala-inspect, version")


@pytest.mark.parametrize(
    ("package", "entry"),
    [
        ("sala_compile.runtime.cli", "sala_run"),
        ("sala_compile.runtime.cli", "sala_inspect"),
        ("sala_compile.runtime.cli", "sala_bench"),
        ("sala_compile.codegen.cli", "sala_compile"),
        ("sala_compile.codegen.cli", "sala_tune"),
    ],
)
def test_ctrl_c_while_a_command_is_imported_is_told(package: str, entry: str):
    code = (
        f"import {package} as cli\n"
        "def interrupted(name): raise KeyboardInterrupt\n"
        f"cli.import_module = interrupted\ncli.{entry}()"
    )
    found, out, notes = _ends(_python(code))
    assert (found, out) == (130, "")
    assert notes == f"{entry.replace('_', '-')}: interrupted\n"
