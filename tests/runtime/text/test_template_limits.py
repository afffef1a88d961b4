"""Templates that would run for ever, or make more text than there is memory: one RequestError."""

# ruff: noqa: E501  (a template is one line)
import resource
import time

import pytest

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.templates.chat import ChatTemplate

ASK = [{"role": "user", "content": "Hi"}]
LOOP = "{% for a in range(99999) %}"
NEST = "{% set n = namespace(x='aaaaaaaa') %}"
DOUBLE = "{% for a in range(60) %}"
END = "{% endfor %}"
SEARCH = "{% set x = 'a' * 1500000 %}{% set z = 'a' * 7000 ~ 'b' ~ 'a' * 7000 %}"

BOMBS = {
    "nested ranges": LOOP * 4 + "x" + END * 4,
    "empty nested ranges": LOOP * 4 + END * 4,
    "filtered ranges": LOOP * 3 + "{% for b in range(99999) if false %}{% endfor %}" + END * 3,
    "recursive macro": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "branching macro": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "branching loop": "{% for a in range(9) recursive %}{% if loop.depth < 50 %}{{ loop(range(9)) }}{% endif %}{% endfor %}",
    "recursive call": "{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{% call f() %}x{% endcall %}",
    "recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "long product": "{{ 'a' * 3000000000 }}",
    "folded product": "{% set x = 'a' * 3000000000 %}",
    "reversed product": "{{ 3000000000 * 'a' }}",
    "list product": "{% set x = [0] * 3000000000 %}{{ x|length }}",
    "tuple product": "{% set x = (0,) * 3000000000 %}",
    "percent width": "{{ '%999999999d' % 1 }}",
    "percent precision": "{{ '%.999999999f' % 1 }}",
    "percent star": "{{ '%*d' % (999999999, 1) }}",
    "percent flags": "{{ '%0-+ 0000000999999999d' % 1 }}",
    "percent name": "{{ '%(a)999999999d' % {'a': 1} }}",
    "percent repeats": "{{ ('%(a)s' * 9999) % {'a': 'x' * 999999} }}",
    "format filter": "{{ '%999999999d'|format(1) }}",
    "format width": "{{ '{:>999999999}'.format('a') }}",
    "format nested width": "{{ '{:>{}}'.format('a', 999999999) }}",
    "format text width": "{{ '{:>{}}'.format('a', '999999999') }}",
    "format map": "{{ '{a:>999999999}'.format_map({'a': 1}) }}",
    "format repeats": "{{ ('{0}' * 9999).format('x' * 999999) }}",
    "format many": "{% for a in range(9) %}{{ ('{}' * 300000).format(*range(99999)) }}{% endfor %}",
    "center": "{{ 'a'|center(1000000000) }}",
    "center method": "{{ 'a'.center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "rjust": "{{ 'a'.rjust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "tabs": "{{ '\\t'.expandtabs(1000000000) }}",
    "attribute filter": "{{ ('a'|attr('center'))(1000000000) }}",
    "mapped filter": "{{ ['a']|map('center', 1000000000)|list }}",
    "indent": "{{ 'a\\na'|indent(1000000000) }}",
    "indent text": "{{ ('a\\n' * 99999)|indent('x' * 99999) }}",
    "join": "{{ (['a'] * 99999)|join('x' * 99999) }}",
    "join method": "{{ ('x' * 99999).join(['a'] * 99999) }}",
    "join iterator": "{{ ('x' * 99999).join(range(99999)|map('string')) }}",
    "join filter iterator": "{{ range(99999)|map('string')|join('x' * 99999) }}",
    "replace": "{{ ('a' * 99999)|replace('a', 'x' * 99999) }}",
    "replace method": "{{ ('a' * 99999).replace('', 'x' * 99999) }}",
    "translate": "{{ ('a' * 99999).translate({97: 'x' * 99999}) }}",
    "batch": "{{ [1]|batch(1000000000, 0)|list }}",
    "batch by name": "{{ [1]|batch(linecount=1000000000, fill_with=0)|list }}",
    "slice": "{{ [1]|slice(1000000000)|list|length }}",
    "power": "{{ 9 ** (9 ** 9) }}",
    "power in steps": "{% set n = namespace(x=9) %}{% for a in range(99) %}{% set n.x = n.x ** 9 %}{% endfor %}",
    "squares": "{% set n = namespace(x=99999) %}{% for a in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "big text": "{{ (9 ** 999)|string }}{{ 9 ** 4000 }}",
    "big from text": "{{ ('f' * 9999999)|int(0, 16) % ('e' * 4999999)|int(0, 16) }}",
    "to bytes": "{{ (1).to_bytes(1000000000, 'big') }}",
    "round": "{{ 1.5|round(1000000000, 'ceil') }}",
    "doubling text": NEST + DOUBLE + "{% set n.x = n.x + n.x %}" + END,
    "doubling tilde": NEST + DOUBLE + "{% set n.x = n.x ~ n.x %}" + END,
    "doubling join": NEST + DOUBLE + "{% set n.x = [n.x, n.x]|join %}" + END,
    "doubling block": NEST + DOUBLE + "{% set y %}{{ n.x }}{{ n.x }}{% endset %}{% set n.x = y %}" + END,
    "doubling list": "{% set n = namespace(x=[1]) %}" + DOUBLE + "{% set n.x = n.x + n.x %}" + END,
    "nested lists": NEST + DOUBLE + "{% set n.x = [n.x, n.x] %}" + END + "{{ n.x }}",
    "nested tuples": NEST + DOUBLE + "{% set n.x = (n.x, n.x) %}" + END + "{{ {n.x: 1} }}",
    "nested dictionaries": NEST + DOUBLE + "{% set n.x = {1: n.x, 2: n.x} %}" + END + "{{ n.x|tojson }}",
    "nested calls": NEST + DOUBLE + "{% set n.x = dict(a=n.x, b=n.x) %}" + END + "{{ n.x|string }}",
    "nested comparison": "{% set n = namespace(x=[1], y=[1]) %}" + DOUBLE
    + "{% set n.x = [n.x, n.x] %}{% set n.y = [n.y, n.y] %}" + END + "{{ n.x == n.y }}",
    "nested arguments": "{% macro f(n) %}{% if n %}{{ m(n, varargs, varargs) }}{% endif %}{% endmacro %}"
    "{% macro m(n) %}{% if varargs == (1, 2) %}{% endif %}{{ m(n - 1, varargs, varargs) if n }}{% endmacro %}{{ m(60, 1) }}",
    "nested namespaces": "{% set n = namespace(x=1) %}" + DOUBLE
    + "{% set n.x = [namespace(a=n.x, b=n.x), namespace(a=n.x)] %}" + END + LOOP * 2 + "{{ n.x }}" + END * 2,
    "deep list": "{% set n = namespace(x=1) %}" + LOOP + "{% set n.x = [n.x] %}" + END + "{{ n.x }}",
    "deep tuple": "{% set n = namespace(x=1) %}" + LOOP + "{% set n.x = (n.x,) %}" + END + "{{ {n.x: 1} }}",
    "growing list": "{% set n = namespace(x=[]) %}" + LOOP
    + "{% set n.x = n.x + ['x' * (99999 + a)] %}" + END,
    "many lists": "{% set n = namespace(x=[]) %}" + LOOP + "{% set n.x = [a]|list + [n.x|length] %}" * 9 + END,
    "much output": "{% set x = 'x' * 999999 %}" + LOOP + "{{ x }}" + END,
    "much static output": LOOP + "{# #}" + "x" * 50000 + END,
    "static in a macro": "{% macro f() %}" + LOOP + "x" * 50000 + END + "{% endmacro %}{{ f()|length }}",
    "static in a block": "{% set y %}" + LOOP + "x" * 50000 + END + "{% endset %}",
    "filter block": "{% filter center(1000000000) %}x{% endfilter %}",
    "sum of lists": "{{ ([[1]] * 99999)|sum(start=[])|length }}",
    "split": "{{ ('a' * 9999999).split('a')|length }}",
    "split spaces": "{{ ('a ' * 9999999).split()|length }}",
    "lines": "{{ ('a\\x0c' * 9999999).splitlines()|length }}",
    "list of text": "{{ ('a' * 9999999)|list|length }}",
    "sort in a loop": LOOP + "{% set x = range(99999)|sort %}" + END,
    "unique in a loop": LOOP + "{% set x = range(99999)|unique|list %}" + END,
    "last of range": LOOP * 2 + "{% set x = range(99999)|map('string')|list|last %}" + END * 2,
    "search in a loop": "{% set x = 'a' * 9999999 %}" + LOOP + "{{ x.count('aaab') }}" + END,
    "divisible text": "{{ '%999999999d' is divisibleby(1) }}",
    "json indent": "{{ range(9999)|list|tojson(indent=999999) }}",
    "json separators": "{{ range(9999)|list|tojson(separators=('x' * 99999, 'y')) }}",
    "date": "{{ strftime_now('%A' * 9999999) }}",
    "lipsum": "{{ lipsum(1000000000) }}",
    "concatenation": "{% set x = 'x' * 9999999 %}{{ " + " ~ ".join(["x"] * 500) + " }}",
    "slices": "{% set x = 'x' * 9999999 %}{% set n = namespace(l=[]) %}" + LOOP
    + "{% set n.l = n.l + [x[a:]] %}" + END,
    "reversal": "{% set x = 'x' * 9999999 %}" + LOOP + "{% set y = x[::-1] %}" + END,
    "search backwards": SEARCH + "{{ x.rfind(z) }}",
    "split backwards": SEARCH + "{{ x.rsplit(z)|length }}",
    "trim by many": SEARCH + "{{ x|trim('b' * 1000000 ~ 'a') }}",
    "strip by many": SEARCH + "{{ x.lstrip('b' * 1000000 ~ 'a') }}",
    "strip of markup": "{{ ('<a' * 999999)|safe.striptags() }}",
    "undefined": LOOP * 4 + "{{ missing }}" + END * 4,
    "cycler": LOOP * 4 + "{{ loop.cycle('a', 'b') }}" + END * 4,
    "while by namespace": NEST + LOOP * 3 + "{% set n.y = 1 %}" + END * 3,
}  # fmt: skip


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_ends_in_one_error(source: str):
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.thread_time()
    with pytest.raises(RequestError) as caught:
        ChatTemplate(source, where="bomb.jinja", special_tokens={}).render(ASK)
    assert "bomb.jinja" in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.thread_time() - began < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss
    assert grown < 400 << 10
