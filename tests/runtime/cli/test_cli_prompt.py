"""What sala-run is asked: contradictions, empty prompts, token ids, conversations."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tokenizers import processors

from sala_compile.runtime.cli import run
from sala_compile.runtime.cli.prompt import Ask, parse_ids, prompt_notes
from sala_compile.runtime.cli.prompt_file import read_prompt
from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.tokenizer import Tokenizer
from tests.support.tokenizers import byte_level, token_id


@pytest.mark.parametrize(
    "fields",
    [
        {"text": "a", "ids": "1"},
        {"ids": "1", "chat": True},
        {"text": "a", "system": "b"},
        {},
        {"text": ""},
        {"text": "", "chat": True},
    ],
)
def test_contradictory_missing_and_empty_prompts_are_refused(fields: dict[str, Any]):
    with pytest.raises(RequestError):
        Ask(**fields)


def test_ids_are_separated_by_commas_or_spaces():
    assert parse_ids("1, 2 3,,4\n5") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("text", ["", " , ", "1,a", "-1", "1.5"])
def test_other_ids_are_refused(text: str):
    with pytest.raises(RequestError):
        parse_ids(text)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    core = byte_level()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", token_id(core, "<s>"))]
    )
    core.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    template = "<s>{% for m in messages %}{{ m.role[0] }}{{ m.content }};{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template)
    return tmp_path


def test_a_chat_gets_its_special_tokens_from_the_template(texts: Path):
    tokenizer = byte_level()
    ids = Ask(text="Hi", chat=True, system="be brief").token_ids(texts)
    assert tokenizer.decode(ids) == "sbe brief;uHi;"
    assert ids.count(token_id(tokenizer, "<s>")) == ids.index(token_id(tokenizer, "<s>")) + 1


def test_a_text_gets_them_from_the_tokenizer(texts: Path):
    ids = Ask(text="Hi").token_ids(texts)
    assert ids[0] == byte_level().token_to_id("<s>")
    assert len(ids) == 3


@pytest.mark.parametrize(("text", "twice"), [("Hi", False), ("<s>Hi", True), ("Hi<s><s>", False)])
def test_a_second_token_before_the_text_is_told(texts: Path, text: str, twice: bool):
    tokenizer = Tokenizer.from_files(texts)
    ids = Ask(text=text).token_ids(texts)
    assert [
        note.startswith("the prompt begins with <s> twice") for note in prompt_notes(tokenizer, ids)
    ] == [True] * twice
    chat = Ask(text=text, chat=True).token_ids(texts)
    assert prompt_notes(tokenizer, chat) == []


def test_ids_need_no_tokenizer(tmp_path: Path):
    assert Ask(ids="7 8").token_ids(tmp_path) == [7, 8]
    with pytest.raises(RequestError, match="no tokenizer"):
        Ask(text="Hi").token_ids(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["x.sala"], "there is no prompt"),
        (["x.sala", "--prompt", ""], "prompt is empty"),
        (["x.sala", "--prompt", "a", "--context", "many"], "number of tokens"),
        (["x.sala", "--prompt", "a", "--memory", "8X"], "amount of memory"),
        (["x.sala", "--prompt", "a", "--temperature", "-1"], "temperature"),
        (["x.sala", "--prompt", "a", "--top-p", "2"], "top_p"),
        (["x.sala", "--prompt", "a", "--threads", "0"], "threads"),
        (["x.sala", "--prompt", "a", "--stop", ""], "stop string"),
        (["x.sala", "--prompt-file", "/nonexistent"], "No such file"),
        (["x.sala", "--chat", "--json"], "--json needs a prompt"),
        (["x.sala", "--ids", "1", "--stop", "a"], "--stop"),
        (["/nonexistent.sala", "--prompt", "a"], "no artifact"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(arguments: list[str], words: str):
    result = CliRunner().invoke(run.command, arguments, prog_name="sala-run")
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_a_prompt_file_must_be_utf8(tmp_path: Path):
    (tmp_path / "prompt").write_bytes(b"\xff\xff")
    arguments = ["x.sala", "--prompt-file", str(tmp_path / "prompt")]
    result = CliRunner().invoke(run.command, arguments)
    assert result.exit_code == 2
    assert "not UTF-8" in result.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_prompt(tmp_path: Path, encoding: str):
    path = tmp_path / "prompt"
    path.write_bytes("Caf\u00e9\r\n".encode(encoding))
    assert read_prompt(path, 100) == "Caf\u00e9\n"


def test_help_needs_no_model():
    result = CliRunner().invoke(run.command, ["--help"])
    assert result.exit_code == 0
    assert "NAME.sala" in result.stdout
