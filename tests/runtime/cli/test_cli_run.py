"""sala-run on a hand-made artifact: what it prints, and where."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from click.testing import CliRunner, Result
from tokenizers import decoders, models, processors

from sala_compile import load
from sala_compile.runtime.artifact import ArtifactWriter, Manifest, write_artifact
from sala_compile.runtime.cli import run
from sala_compile.runtime.engine.chunk import StepResult
from sala_compile.runtime.engine.engine import Engine
from tests.support.handmade import VOCABULARY, fill

LETTERS = "abcdefghijklmnopqrstuvwxyz .!"
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}."


Folders = Callable[[dict[str, str]], Path]


def _write(path: Path, files: dict[str, str]) -> Path:
    """The hand-made artifact with a tokenizer of one letter a token, and some files."""
    core = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(LETTERS)}, merges=[])
    )
    core.decoder = decoders.Fuse()
    assert len(LETTERS) == VOCABULARY

    def write(writer: ArtifactWriter) -> Manifest:
        for name, text in ({"tokenizer.json": core.to_str()} | files).items():
            writer.write_bytes(name, text.encode())
        return fill(writer)

    write_artifact(path, write)
    return path


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact with a tokenizer and a chat template."""
    path = tmp_path_factory.mktemp("talking") / "talking.sala"
    return _write(path, {"chat_template.jinja": TEMPLATE})


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Write an artifact with a tokenizer and some files."""
    return lambda files: _write(tmp_path / "made.sala", files)


def _run(*arguments: Any, standard_input: str = "") -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(run.command, words, input=standard_input, prog_name="sala-run")


def _greedy(artifact: Path, prompt: str, count: int) -> str:
    with load(artifact) as model:
        ids = [LETTERS.index(letter) for letter in prompt]
        tokens = model.generate(ids, count, ignore_eos=True, defaults="none")
        return "".join(LETTERS[token] for token in tokens)


@pytest.mark.parametrize(("trained", "told"), [(63, True), (64, False), (None, False)])
def test_a_context_beyond_the_trained_one_is_noted(tmp_path: Path, trained: int | None, told: bool):
    def write(writer: ArtifactWriter) -> Manifest:
        manifest = fill(writer)
        model = manifest.model.model_copy(update={"trained_length": trained})
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


def test_a_second_token_before_the_text_is_told(tmp_path: Path):
    core = tokenizers.Tokenizer(
        models.BPE(vocab={letter: i for i, letter in enumerate(LETTERS)}, merges=[])
    )
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single="! $A", special_tokens=[("!", LETTERS.index("!"))]
    )
    files = {"tokenizer.json": core.to_str(), "tokenizer_config.json": '{"bos_token": "!"}'}
    artifact = _write(tmp_path / "twice.sala", files)
    told = "note: the prompt begins with ! twice"
    assert told in _run(artifact, "--prompt", "!a", "--max-tokens", 1).stderr
    assert told not in _run(artifact, "--prompt", "a!!", "--max-tokens", 1).stderr
    assert told not in _run(artifact, "--ids", "28,28", "--max-tokens", 1).stderr


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


def test_a_chat_reads_only_what_is_new(talking: Path, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    step = Engine.step

    def counting(self: Engine, chunks: Any, **options: Any) -> list[StepResult]:
        read.extend(len(chunk) for chunk in chunks)
        return step(self, chunks, **options)

    monkeypatch.setattr(Engine, "step", counting)
    options = ("--chat", "--max-tokens", 3, "--ignore-eos")
    result = _run(talking, *options, standard_input="abcd\nef\nghi\n")
    assert result.exit_code == 0
    answers = result.stdout.splitlines()
    # The template ends every text with a dot: what stays of the message is in the first piece,
    # then come the dot and the answer but for its last token; and so on behind what stays.
    second = len(answers[0]) + len("ef")
    third = len(answers[1]) + len("ghi")
    assert read == [4, 1, 1, 1, second, 1, 1, 1, third, 1, 1, 1]
    monkeypatch.undo()
    assert answers[0] == _greedy(talking, "abcd.", 3)
    assert answers[1] == _greedy(talking, f"abcd{answers[0]}ef.", 3)
    assert answers[2] == _greedy(talking, f"abcd{answers[0]}ef{answers[1]}ghi.", 3)


def test_a_full_context_forgets_the_oldest_turns(talking: Path):
    options = ("--chat", "--system", "s", "--max-tokens", 8, "--ignore-eos")
    lines = ["a" * 20, "b" * 20, "c" * 20, "d" * 60, "e" * 70, "f"]
    result = _run(talking, *options, standard_input="\n".join(lines) + "\n")
    assert result.exit_code == 0
    assert "(the context of 64 tokens is full: the oldest turn is forgotten)" in result.stderr
    assert result.stderr.count("is forgotten)") + result.stderr.count("are forgotten)") >= 2
    assert "the message is not read: 72 tokens do not fit the context of 64" in result.stderr
    answers = result.stdout.splitlines()
    assert len(answers) == 5
    assert answers[0] == _greedy(talking, "s" + "a" * 20 + ".", 8)
    third = "s" + "c" * 20 + "."
    assert answers[2] == _greedy(talking, third, 8)
    fourth = "s" + "d" * 60 + "."
    assert answers[3] == _greedy(talking, fourth, 8)
    assert "(the context of 64 tokens ends here)" in result.stderr
    assert answers[4] == _greedy(talking, "s" + "f" + ".", 8)


def test_a_template_gets_its_arguments_and_tools(tmp_path: Path, folders: Folders):
    artifact = folders(
        {
            "chat_template.jinja": "{{ messages[0].content }}{{ 'yes' if thinks else 'no' }}",
            "additional_chat_templates/tool_use.jinja": "{{ tools|map(attribute='name')|join }}",
            "additional_chat_templates/short.jinja": "z",
        }
    )
    tools = tmp_path / "tools.json"
    tools.write_text('[{"name": "ab"}, {"name": "cd"}]')
    chat = ("--chat", "--prompt", "q", "--max-tokens", 4, "--ignore-eos")
    for more, prompt in (
        ((), "qno"),
        (("--template-arg", "thinks=true"), "qyes"),
        (("--template-arg", "thinks=false"), "qno"),
        (("--tools", tools), "abcd"),
        (("--template", "short"), "z"),
        (("--template", "default", "--tools", tools), "qno"),
    ):
        result = _run(artifact, *chat, *more)
        assert result.stdout == _greedy(artifact, prompt, 4) + "\n", (more, result.stderr)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--chat", "--template", "x"), "no chat template named 'x'"),
        (("--chat", "--template-arg", "x"), "NAME=JSON"),
        (("--chat", "--template-arg", "x=yes"), "not JSON"),
        (("--chat", "--template-arg", "x=[" + "[" * 9999), "nested"),
        (("--chat", "--tools", "/nonexistent"), "the file of tools"),
        (("--chat", "--tools", "/dev/null"), "a character device"),
        (("--template", "x"), "--template is for the chat template"),
        (("--tools", "x"), "--tools is for the chat template"),
        (("--logit-bias", "a=1"), "ID=BIAS"),
        (("--logit-bias", "1=200"), "logit_bias"),
        (("--logit-bias", "99=1"), "logit_bias has the token 99"),
        (("--min-p", 2), "min_p"),
        (("--presence-penalty", 3), "presence_penalty"),
        (("--defaults", "x"), "generation-config"),
    ],
    ids=str,
)
def test_other_options_are_refused(talking: Path, options: tuple[Any, ...], words: str):
    result = _run(talking, "--prompt", "a", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_tools_that_are_none_are_refused(talking: Path, tmp_path: Path):
    for text in ("", "{}", "[1]", '"x"', "[" * 9999):
        (tmp_path / "tools.json").write_text(text)
        result = _run(talking, "--chat", "--prompt", "a", "--tools", tmp_path / "tools.json")
        assert result.exit_code == 2
        assert "tools.json" in result.stderr


def test_options_choose_tokens(talking: Path):
    ask = (talking, "--prompt", "hello", "--max-tokens", 6, "--ignore-eos")
    plain = _run(*ask).stdout
    never = _run(*ask, *("--logit-bias", f"{LETTERS.index(plain[0])}=-100")).stdout
    assert plain[0] not in never
    assert _run(*ask, "--temperature", 9, "--min-p", 1).stdout == plain
    with load(talking) as model:
        ids = [LETTERS.index(letter) for letter in "hello"]
        told = model.generate(ids, 6, ignore_eos=True, presence_penalty=2.0, frequency_penalty=1.5)
    penalties = ("--presence-penalty", 2, "--frequency-penalty", 1.5)
    assert _run(*ask, *penalties).stdout == "".join(LETTERS[token] for token in told) + "\n"


def test_defaults_are_the_checkpoints(folders: Folders):
    config = {"do_sample": True, "temperature": 9.0, "max_new_tokens": 5, "num_beams": 2}
    artifact = folders({"generation_config.json": json.dumps(config), "chat_template.jinja": "x"})
    ask = (artifact, "--prompt", "hello", "--ignore-eos")
    drawn = _run(*ask)
    assert len(drawn.stdout) == 6
    assert "note: generation_config.json: num_beams 2 is not applied" in drawn.stderr
    greedy = _greedy(artifact, "hello", 5)
    assert drawn.stdout != greedy + "\n"
    assert _run(*ask, "--temperature", 0).stdout == greedy + "\n"
    plain = _run(*ask, "--defaults", "none", "--max-tokens", 5)
    assert plain.stdout == greedy + "\n"
    assert "note:" not in plain.stderr


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
    code = "from sala_compile.runtime.cli.run import main; main()"
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
