"""Chat templates that write messages, tools and reasoning as published models do."""

from sala_compile.runtime.text.templates.chat import ChatTemplate

_TURNS = """
{%- for message in messages %}
    {%- if message.role == 'tool' %}
        {{- '<|im_start|>user\\n<tool_response>\\n' ~ message.content }}
        {{- '\\n</tool_response><|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' + message.content }}
        {%- for call in message.tool_calls or [] %}CALL{% endfor %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}THOUGHT{% endif %}
{%- endif %}
"""
_JSON_CALL = """
{{- '\\n<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' }}
{{- call.function.arguments | tojson ~ '}\\n</tool_call>' }}
"""
_TAGGED_CALL = """
{{- '<function name="' ~ call.function.name ~ '">' }}
{%- for name, value in call.function.arguments | items %}
    {{- '<param name="' ~ name ~ '">' ~ value ~ '</param>' }}
{%- endfor %}
{{- '</function>' }}
"""
_TOOLS = "{% if tools %}{{ '<tools>' ~ tools | tojson ~ '</tools>' }}{% endif %}"
_NO_THOUGHT = "{{- '<think>\\n\\n</think>\\n\\n' }}"


def _chat(call: str, thought: str = "") -> str:
    return _TOOLS + _TURNS.replace("CALL", call).replace("THOUGHT", thought)


TEMPLATES = {
    "hermes": _chat(_JSON_CALL),
    "hermes with reasoning": _chat(_JSON_CALL, _NO_THOUGHT),
    "minicpm": _chat(_TAGGED_CALL, _NO_THOUGHT),
    "qwen tags": _chat("{{- '<tool_call>\\n<function=' }}{# <parameter= #}"),
    "mistral": _chat(
        "{{- '[TOOL_CALLS][' ~ {'name': call.function.name} | tojson ~ ']' }}"
        "{%- if call.id | length < 9 %}{{ raise_exception('short id') }}{% endif %}"
    ),
    "mistral with marks": _chat("{{- '[TOOL_CALLS]' ~ call.function.name ~ '[ARGS]' }}"),
    "llama": _chat("{{- '{\"name\": \"\", ' ~ '\"parameters\": ' ~ '}' }}{# ipython #}"),
    "python block": _chat("{{- '<|tool_call_start|>\\n```python\\n<|tool_call_end|>' }}"),
    "python list": _chat("{{- '<|tool_call_start|>[' ~ call.function.name ~ ']' }}"),
}
"""Templates by the name of their format of calls."""

PLAIN = _TURNS.replace("CALL", "").replace("THOUGHT", "")
"""Neither tools nor reasoning."""

FIRST_SYSTEM = (
    "{%- if messages[0].role == 'system' %}{{- 'SYSTEM ' ~ messages[0].content ~ '\\n' }}"
    "{%- set messages = messages[1:] %}{% endif %}"
    "{%- for message in messages %}{%- if message.role == 'system' %}"
    "{{- raise_exception('the system comes first') }}{% endif %}"
    "{{- message.role | upper ~ ' ' ~ message.content ~ '\\n' }}{% endfor %}"
)
"""A template that refuses a system message after the first message."""

NO_SYSTEM = (
    "{%- for message in messages %}{%- if message.role != 'system' %}"
    "{{- message.role | upper ~ ' ' ~ message.content ~ '\\n' }}{% endif %}{% endfor %}"
)
"""A template that leaves system messages out."""

OPENS_REASONING = PLAIN.replace(
    "{{- '<|im_start|>assistant\\n' }}",
    "{{- '<|im_start|>assistant\\n<think>\\n' }}{# </think> #}",
)
"""A template that begins the reasoning itself."""

TEXT_ARGUMENTS = _chat(
    "{{- '<tool_call>' + call.function.name + call.function.arguments + '</tool_call>' }}"
)
"""A template that joins the arguments of calls as a text."""


def chat_template(source: str) -> ChatTemplate:
    """The template of a text."""
    return ChatTemplate(source, special_tokens={"bos_token": "<s>"})
