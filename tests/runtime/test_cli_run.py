"""sala-run on a hand-made artifact: what it prints, and where."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from click.testing import CliRunner, Result
from tokenizers import decoders, models

from runtime import load
from runtime.artifact import ArtifactWriter, Manifest, write_artifact
from runtime.cli import run
from tests.support.handmade import VOCABULARY, fill

LETTERS = "abcdefghijklmnopqrstuvwxyz .!"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}."


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hand-made artifact with a tokenizer of one letter a token, and a chat template."""
    core = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(LETTERS)}, merges=[])
    )
    core.decoder = decoders.Fuse()
    assert len(LETTERS) == VOCABULARY

    def write(writer: ArtifactWriter) -> Manifest:
        writer.write_bytes("tokenizer.json", core.to_str().encode())
        writer.write_bytes("chat_template.jinja", TEMPLATE.encode())
        return fill(writer)

    path = tmp_path_factory.mktemp("talking") / "talking.sala"
    write_artifact(path, write)
    return path


def _run(*arguments: Any, standard_input: str = "") -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(run.command, words, input=standard_input, prog_name="sala-run")


def _greedy(artifact: Path, prompt: str, count: int) -> str:
    with load(artifact) as model:
        ids = [LETTERS.index(letter) for letter in prompt]
        return "".join(LETTERS[token] for token in model.generate(ids, count, ignore_eos=True))


@pytest.mark.parametrize(("trained", "told"), [(63, True), (64, False), (None, False)])
def test_a_context_beyond_the_trained_one_is_noted(tmp_path: Path, trained: int | None, told: bool):
    def write(writer: ArtifactWriter) -> Manifest:
        manifest = fill(writer)
        sizes = {} if trained is None else {"max_position_embeddings": trained}
        model = manifest.model.model_copy(update={"sizes": sizes})
        return manifest.model_copy(update={"model": model})

    write_artifact(tmp_path / "a.sala", write)
    result = _run(tmp_path / "a.sala", "--ids", "1 2 3", "--max-tokens", 2)
    assert result.exit_code == 0
    assert ("longer than the 63 that the model was trained for" in result.stderr) is told


def test_text_goes_to_stdout_and_the_summary_to_stderr(talking: Path):
    result = _run(talking, "--prompt", "hello", "--max-tokens", 12, "--ignore-eos")
    assert result.exit_code == 0
    assert result.stdout == _greedy(talking, "hello", 12) + "\n"
    assert "prompt 5 tokens" in result.stderr
    assert "answer 12 tokens" in result.stderr
    assert "ended by --max-tokens" in result.stderr
    assert "planned" in result.stderr
    assert "used" in result.stderr


def test_a_prompt_file_or_standard_input_is_the_same(talking: Path, tmp_path: Path):
    (tmp_path / "prompt").write_text("hello", encoding="utf-8")
    options = ("--max-tokens", 12, "--ignore-eos")
    told = _run(talking, "--prompt", "hello", *options).stdout
    assert _run(talking, "--prompt-file", tmp_path / "prompt", *options).stdout == told
    piped = _run(talking, "--prompt-file", "-", *options, standard_input="hello")
    assert piped.stdout == told


def test_json_is_one_document(talking: Path):
    result = _run(talking, "--prompt", "hello", "--max-tokens", 5, "--ignore-eos", "--json")
    document = json.loads(result.stdout)
    assert document["text"] == _greedy(talking, "hello", 5)
    assert len(document["token_ids"]) == document["new_tokens"] == 5
    assert document["finish"] == "length"
    assert document["prompt_tokens"] == 5
    assert document["decode"]["tokens_per_second"] > 0
    memory = document["memory"]
    assert memory["total_bytes"] == memory["planned_bytes"] == sum(memory["parts"].values())
    assert result.stderr == ""


def test_ids_in_and_out_without_a_tokenizer(handmade: Path):
    result = _run(handmade, "--ids", "5 4,8", "--max-tokens", 4, "--ignore-eos")
    with load(handmade) as model:
        expected = model.generate([5, 4, 8], 4, ignore_eos=True)
    assert result.stdout.split() == [str(token) for token in expected]
    refused = _run(handmade, "--prompt", "text")
    assert refused.exit_code == 2
    assert "has no tokenizer" in refused.stderr
    assert "fix" in refused.stderr


def test_seeds_choose_answers(talking: Path):
    options = ("--prompt", "ab", "--temperature", 8, "--max-tokens", 20, "--ignore-eos")
    first = _run(talking, *options, "--seed", 1)
    assert first.stdout == _run(talking, *options, "--seed", 1).stdout
    assert first.stdout != _run(talking, *options, "--seed", 2).stdout


def test_a_stop_string_ends(talking: Path):
    whole = _greedy(talking, "hello", 8)
    stop = whole[3:5]
    end = whole.index(stop)
    result = _run(
        *(talking, "--prompt", "hello", "--max-tokens", 8, "--ignore-eos", "--stop", stop)
    )
    assert result.stdout == whole[:end] + "\n"
    assert "ended by a stop string" in result.stderr


def test_a_chat_of_one_turn(talking: Path):
    result = _run(
        *(talking, "--chat", "--system", "a", "--prompt", "b", "--max-tokens", 6, "--ignore-eos")
    )
    assert result.stdout == _greedy(talking, "ab.", 6) + "\n"


def test_a_chat_of_several_turns_remembers(talking: Path):
    options = ("--chat", "--max-tokens", 3, "--ignore-eos")
    result = _run(talking, *options, standard_input="ab\n\ncd\n/quit\nef\n")
    first = _greedy(talking, "ab.", 3)
    second = _greedy(talking, f"ab{first}cd.", 3)
    assert result.exit_code == 0
    assert result.stdout == f"{first}\n{second}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--prompt", "a" * 65), "do not fit the context"),
        (("--ids", "1,29"), "29 is not a token"),
        (("--ids", "1", "--memory", "1K"), "of memory"),
        (("--prompt", "UPPER"), "prompt is empty"),
    ],
)
def test_a_request_that_cannot_be_served(talking: Path, arguments: tuple[str, ...], words: str):
    result = _run(talking, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("sala-run: ")
    assert words in result.stderr
    assert result.stdout == ""


def test_a_longer_context_can_be_asked_for(talking: Path):
    result = _run(talking, "--prompt", "a" * 65, "--context", "1K", "--max-tokens", 1, "--json")
    assert json.loads(result.stdout)["context"] == 1024


def test_a_damaged_artifact_is_one_message(talking: Path, tmp_path: Path):
    (tmp_path / "empty.sala").mkdir()
    result = _run(tmp_path / "empty.sala", "--ids", "1")
    assert result.exit_code == 2
    assert "manifest.json" in result.stderr


def test_ctrl_c_ends_the_answer_with_its_summary(talking: Path):
    code = "from runtime.cli.run import main; main()"
    options = ("--max-tokens", "100M", "--context", "100M", "--ignore-eos", "--prompt", "abc")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(talking), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.read(1)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
