"""Chat templates: the conventions of their source, the sandbox, errors."""

import json
import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sala_compile.runtime.errors import ArtifactError, RequestError, SalaError
from sala_compile.runtime.text.templates.chat import ChatTemplate

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
ASK = [{"role": "user", "content": "Hi"}]


def _template(source: str, **tokens: str) -> ChatTemplate:
    return ChatTemplate(source, where="chat_template.jinja", special_tokens=tokens)


def test_chatml_opens_the_answer():
    expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    assert _template(CHATML).render(ASK) == expected
    assert _template(CHATML).render(ASK, add_generation_prompt=False) == expected[:30]


def test_blocks_leave_no_line_behind():
    source = (
        "{% for m in messages %}\n  {% if true %}\n{{ m.content }}\n  {% endif %}\n{% endfor %}"
    )
    assert _template(source).render(ASK) == "Hi\n"


def test_special_tokens_and_variables_reach_the_template():
    assert _template("{{ bos_token }}{{ mode }}", bos_token="<s>").render(ASK, mode=3) == "<s>3"
    assert _template("{{ tools is none }}").render(ASK) == "True"


def test_conventions_of_published_templates():
    source = (
        "{% generation %}{{ {'a': 'ä<'} | tojson }}{% endgeneration %}"
        "{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"
    )
    assert _template(source).render(ASK) == '{"a": "ä<"}01'
    assert _template("{{ [1] | tojson(indent=1) }}").render(ASK) == "[\n 1\n]"
    assert len(_template("{{ strftime_now('%Y') }}").render(ASK)) == 4


def test_a_refusal_by_the_template_is_a_request_error():
    with pytest.raises(RequestError, match="roles must alternate"):
        _template("{{ raise_exception('roles must alternate') }}").render(ASK)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{{ messages[0].missing.deeper }}",
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ range(10 ** 9) }}",
        "{% include 'x' %}",
    ],
)
def test_what_fails_or_leaves_the_sandbox_is_refused(source: str):
    with pytest.raises(RequestError, match=r"chat_template\.jinja"):
        _template(source).render(ASK)


def test_a_broken_template_is_named():
    with pytest.raises(RequestError, match="broken"):
        _template("{% if %}")


def test_the_file_comes_before_the_configuration(tmp_path: Path):
    config = {"bos_token": {"content": "<s>"}, "chat_template": "config {{ bos_token }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.from_files(tmp_path).render(ASK) == "config <s>"
    (tmp_path / "chat_template.jinja").write_text("file {{ bos_token }}")
    assert ChatTemplate.from_files(tmp_path).render(ASK) == "file <s>"


def test_a_template_is_found_in_either_place(tmp_path: Path):
    assert not ChatTemplate.exists(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>"}))
    assert not ChatTemplate.exists(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
    assert ChatTemplate.exists(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / "chat_template.jinja").write_text("x")
    assert ChatTemplate.exists(tmp_path)


def test_of_several_templates_the_default_is_taken(tmp_path: Path):
    entries = [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": entries}))
    assert ChatTemplate.from_files(tmp_path).render(ASK) == "d"


@pytest.mark.parametrize(
    "template",
    [
        *(
            5,
            True,
            ["x"],
            [{"name": "default"}],
            [{"template": "x"}],
            [{"name": 5, "template": "x"}],
        ),
        *([{"name": "default", "template": 5}], {"default": 5}, {"default": ["x"]}, "x" * 70_000),
        *("caf\ud800",),
    ],
    ids=str,
)
def test_what_is_no_template_is_refused_by_name(tmp_path: Path, template: object):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(SalaError, match=r"tokenizer_config\.json"):
        ChatTemplate.from_files(tmp_path)


def test_a_file_that_is_no_template_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "chat_template.jinja"
    for data in (b"caf\xe9", b"x" * 70_000):
        path.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"chat_template\.jinja"):
            ChatTemplate.from_files(tmp_path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match="a pipe"):
        ChatTemplate.from_files(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[" * 100_000)
    path.unlink()
    with pytest.raises(ArtifactError, match="nested"):
        ChatTemplate.from_files(tmp_path)


def test_templates_are_chosen_by_name(tmp_path: Path):
    config = {"chat_template": {"default": "d", "tool_use": "t", "rag": "r"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    templates = ChatTemplate.from_files(tmp_path)
    assert templates.names == ["default", "tool_use", "rag"]
    assert templates.render(ASK) == "d"
    assert templates.render(ASK, tools=[{"name": "f"}]) == "t"
    assert ChatTemplate.from_files(tmp_path, "rag").render(ASK, tools=[]) == "r"
    with pytest.raises(RequestError, match="named 'x'") as caught:
        ChatTemplate.from_files(tmp_path, "x")
    assert "'default', 'tool_use', 'rag'" in str(caught.value)


def test_additional_files_have_their_names_and_overrule_the_configuration(tmp_path: Path):
    config = {"chat_template": {"default": "c", "other": "o"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    folder = tmp_path / "additional_chat_templates"
    folder.mkdir()
    (folder / "tool_use.jinja").write_text("t{{ tools|length }}")
    (folder / "notes.txt").write_text("no template")
    with pytest.raises(RequestError, match="named 'default'"):
        ChatTemplate.from_files(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("d")
    templates = ChatTemplate.from_files(tmp_path)
    assert templates.names == ["default", "tool_use"]
    assert templates.render(ASK) == "d"
    assert templates.render(ASK, tools=[{}, {}]) == "t2"


def test_a_template_sees_plain_values_only():
    class Color(StrEnum):
        RED = "red"

    @dataclass
    class Part:
        text: object

    shown = "{{ messages[0].content.text }} {{ tools is none }} {{ x.a }} {{ y }}"
    given = [{"role": "user", "content": Part(Color.RED), "tool_calls": None}]
    values = {"x": {"a": np.float32(0.5)}, "y": object()}
    assert _template(shown).render(given, **values) == "red True 0.5 <object>"
    assert _template("{{ messages[0].tool_calls is defined }}").render(given) == "False"
    reasoning = [{"role": "assistant", "content": "a", "reasoning": "r"}]
    known = "{{ messages[0].reasoning_content }}{{ messages[0].thinking }}"
    assert _template(known).render(reasoning) == "rr"


@pytest.mark.parametrize(
    "messages", [None, 5, "text", [], {}, [5], ["text"], [None], {"role": "user"}], ids=str
)
def test_what_is_no_conversation_is_refused(messages: Any):
    with pytest.raises(RequestError, match="message"):
        _template("x").render(messages)


@pytest.mark.parametrize("tools", [5, "x", [5], {"a": 1}, [[]]], ids=str)
def test_what_are_no_tools_is_refused(tools: Any):
    with pytest.raises(RequestError, match="tools"):
        _template("x").render(ASK, tools=tools)


def test_values_nested_without_an_end_are_refused():
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(RequestError, match="nested"):
        _template("x").render(ASK, value=endless)


def test_methods_and_filters_within_loops():
    source = (
        "{% set n = namespace(x='') %}{% for m in messages %}{% for w in m.content.split(' ', 1) %}"
        "{% set n.x = n.x + w.strip().replace('a', 'b').center(3) %}{% endfor %}{% endfor %}"
        "{{ n.x }}|{{ '%s-%03d' % ('a', 7) }}|{{ '{:>4}{}'.format('a', 1) }}|"
        "{{ [1, 2]|join(',') }}|"
        "{{ ','.join(messages|map(attribute='role')) }}|{{ 2 ** 10 }}|"
        "{{ [1, 2]|reverse|list }}|{{ [1] * 2 }}|{{ 'a' ~ 1 }}"
    )
    text = _template(source).render([{"role": "user", "content": "aa c d"}])
    assert text == " bbc d|a-007|   a1|1,2|user|1024|[2, 1]|[1, 1]|a1"


def test_a_long_conversation_is_no_bomb():
    messages = [{"role": "user", "content": "x" * 1000}] * 3000
    assert len(_template(CHATML).render(messages)) > 3_000_000
    assert len(_template(CHATML).render([{"role": "user", "content": "x" * 20_000_000}])) > 2e7


def test_arguments_of_the_wrong_kind_are_refused(tmp_path: Path):
    for place in (None, 5, b"x", object(), ""):
        with pytest.raises(SalaError):
            ChatTemplate.from_files(place)  # type: ignore
    (tmp_path / "chat_template.jinja").write_text("x")
    for name in (5, [], b"default"):
        with pytest.raises(RequestError):
            ChatTemplate.from_files(tmp_path, name)  # type: ignore


def test_absence_is_named(tmp_path: Path):
    with pytest.raises(RequestError, match="no chat template"):
        ChatTemplate.from_files(tmp_path)
