"""Chat templates: the conventions of their source, the sandbox, errors."""

import json
from pathlib import Path

import pytest

from runtime.chat import ChatTemplate
from runtime.errors import RequestError

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


def test_absence_is_named(tmp_path: Path):
    with pytest.raises(RequestError, match="no chat template"):
        ChatTemplate.from_files(tmp_path)
