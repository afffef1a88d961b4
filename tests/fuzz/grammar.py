"""Chat templates by a grammar: loops, macros, products, filters, formats, and bombs of them."""

from hypothesis import strategies as st

from tests.fuzz.values import Draw

NAMES = ("messages", "m", "m.content", "m['role']", "tools", "loop.index", "bos_token", "x", "ns.a")
NUMBERS = ("0", "1", "3", "-1", "100", "10**4", "10**7", "3000000000", "2**62", "10**100", "1e308")
TEXTS = (
    "''",
    "'a'",
    "'ab' * 9",
    "'{}'",
    "'%s'",
    "'<|im_start|>'",
    "'\\n'",
    "'é你👩'",
    "'{0.__class__}'",
)
FILTERS = (
    *("trim", "upper", "length", "list", "tojson", "join(', ')", "replace('a', 'aa')", "string"),
    *(
        "int",
        "float",
        "first",
        "last",
        "reverse",
        "sort",
        "unique",
        "sum",
        "escape",
        "safe",
        "title",
    ),
    *(
        "batch(2)|list",
        "slice(3)|list",
        "center(80)",
        "center(10**9)",
        "indent(10**8)",
        "wordwrap(1)",
    ),
    *("format('x')", "truncate(5)", "default('d')", "items|list", "dictsort", "groupby('role')"),
    *(
        "map('upper')|list",
        "selectattr('role')|list",
        "round(3)",
        "abs",
        "xmlattr",
        "urlize",
        "pprint",
    ),
    *("tojson(indent=10**7)", "random", "min", "max", "filesizeformat", "striptags", "wordcount"),
)
FORMATS = (
    *(
        "'{:>1000000000}'.format(1)",
        "'%1000000000d' % 3",
        "'%.999999999f' % 1.0",
        "'{:,}'.format(x)",
    ),
    *(
        "'a'.center(3000000000)",
        "'a'.ljust(10**9)",
        "'a' * 3000000000",
        "[0] * 10**9",
        "(1,) * 10**8",
    ),
    *("'a'.zfill(10**9)", "'x'.join(['a' * 10**4] * 10**4)", "'a'.replace('', 'b' * 10**8)"),
    *(
        "'ab'.expandtabs(10**9)",
        "'\\t'.expandtabs(10**9)",
        "9**9**9",
        "2**10**8",
        "(10**5000)|string",
    ),
    *("range(10**9)|list", "range(10**10)|sum", "range(10**8)|join", "lipsum(10000)", "dict(a=1)"),
    *("''.__class__.__mro__", "cycler(1, 2).next()", "namespace(a=1).a", "joiner(',')()", "self"),
    *(
        "strftime_now('%Y' * 10**7)",
        "strftime_now('%d %B')",
        "raise_exception('no')",
        "raise_exception()",
    ),
    *("undefined.a.b", "1 / 0", "'a' + 1", "messages[10**20]", "messages[-1]", "m.content[::-1]"),
    *("'a' ~ 'b' ~ 1", "not x", "1 < 2 < 3", "'a' in messages", "x is defined", "x if y else z"),
    *(
        "tojson(messages)",
        "m.update({'a': 1})",
        "messages.append(1)",
        "'%(a)s' % {'a': 1}",
        "'%c' % 1114112",
    ),
)


OPERATORS = ("+", "*", "~", "%", "**", "-", "//", "and")


@st.composite
def expressions(draw: Draw, depth: int = 2) -> str:
    """An expression."""
    kind = draw(st.sampled_from(("name", "number", "text", "filter", "filter", "format", "binary")))
    match kind:
        case "filter" if depth:
            return f"({draw(expressions(depth - 1))})|{draw(st.sampled_from(FILTERS))}"
        case "binary" if depth:
            left, right = draw(expressions(depth - 1)), draw(expressions(depth - 1))
            return f"({left} {draw(st.sampled_from(OPERATORS))} {right})"
        case "number":
            return draw(st.sampled_from(NUMBERS))
        case "text":
            return draw(st.sampled_from(TEXTS))
        case "format":
            return draw(st.sampled_from(FORMATS))
    return draw(st.sampled_from(NAMES))


@st.composite
def blocks(draw: Draw, depth: int = 3) -> str:
    """Text and statements."""
    parts = [draw(block(depth)) for _ in range(draw(st.integers(1, 3)))]
    return "".join(parts)


@st.composite
def block(draw: Draw, depth: int) -> str:
    """One statement, with what stands in it."""
    kinds = (
        "print",
        "print",
        "text",
        "for",
        "for",
        "range",
        "if",
        "set",
        "macro",
        "broken",
        "other",
    )
    kind = draw(st.sampled_from(kinds if depth else ("print", "text", "other")))
    match kind:
        case "print":
            return f"{{{{ {draw(expressions())} }}}}"
        case "text":
            return draw(
                st.sampled_from(
                    ("<|user|>", "\n", "  ", "{#c#}", "é", "\ud7ff", "{%- raw %}{{{% endraw %}")
                )
            )
        case "for":
            return f"{{% for m in {draw(expressions(1))} %}}{draw(blocks(depth - 1))}{{% endfor %}}"
        case "range":
            count = draw(st.sampled_from(("3", "100", "10000", "99999", "10**6", "10**12", "x")))
            return f"{{% for i in range({count}) %}}{draw(blocks(depth - 1))}{{% endfor %}}"
        case "if":
            inner, other = draw(blocks(depth - 1)), draw(blocks(depth - 1))
            return f"{{% if {draw(expressions(1))} %}}{inner}{{% else %}}{other}{{% endif %}}"
        case "set":
            return draw(_assignments(depth))
        case "macro":
            return draw(_macros(depth))
        case "broken":
            return draw(st.sampled_from(BROKEN))
    return draw(st.sampled_from(OTHERS))


BROKEN = (
    "{% if %}",
    "{{",
    "{% for %}",
    "{% endfor %}",
    "{{ ( }}",
    "{% unknown %}",
    "{{ 'a }}",
    "{#",
)
BROKEN += ("{{ " + "(" * 300 + ")" * 300 + " }}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}")
BROKEN += (
    "{{ " + "-" * 20000 + "1 }}",
    "{{ x" + ".a" * 20000 + " }}",
    "{% if a %}" * 60,
    "{{ 1" + "+1" * 9000 + " }}",
)
BROKEN += (
    "{{ " + "9" * 5000 + " }}",
    "{% set x = " + "[" * 90 + "]" * 90 + " %}",
    "\x00",
    "{{ a" + "|trim" * 9000 + " }}",
)
OTHERS = (
    *(
        "{% break %}",
        "{% continue %}",
        "{% generation %}a{% endgeneration %}",
        "{% raw %}x{% endraw %}",
    ),
    *(
        "{% include 'x' %}",
        "{% import 'a' as b %}",
        "{% extends 'a' %}",
        "{% block a %}b{% endblock %}",
    ),
    *("{% filter upper %}a{% endfilter %}", "{% with a = 1 %}{{ a }}{% endwith %}", "{% do x %}"),
    *("{% autoescape true %}<{% endautoescape %}", "{{ caller() }}", "{{ super() }}", "{{ loop }}"),
    *("{% set ns = namespace(a=[]) %}", "{% set ns.a = ns.a + [1] %}", "{{ ns.a * 10**7 }}"),
)


@st.composite
def _assignments(draw: Draw, depth: int) -> str:
    start, operator = draw(st.sampled_from((("'ab'", "~"), ("[1]", "+"), ("3", "*"), ("'a'", "+"))))
    growth = (
        "{% set x = 'a' %}{% for i in range(60) %}{% set x = x ~ x %}{% endfor %}{{ x }}",
        f"{{% set ns = namespace(x={start}) %}}{{% for i in range(40) %}}"
        f"{{% set ns.x = ns.x {operator} ns.x %}}{{% endfor %}}{{{{ ns.x }}}}",
        "{% set x %}{% for i in range(90000) %}aaaaaaaaaa{% endfor %}{% endset %}{{ x * 10**4 }}",
    )
    plain = f"{{% set x = {draw(expressions())} %}}{draw(blocks(depth - 1))}"
    return draw(st.sampled_from((plain, plain, *growth)))


@st.composite
def _macros(draw: Draw, depth: int) -> str:
    body = draw(blocks(depth - 1))
    recursive = (
        "{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}",
        "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(60) }}",
        "{% macro f(n) %}a{% if n %}{{ f(n - 1) * 10 }}{% endif %}{% endmacro %}{{ f(12) }}",
        "{% for m in [[[]]] recursive %}{{ loop(messages) }}{% endfor %}",
        "{% for m in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
        "{% macro f() %}{{ caller() }}{% endmacro %}{% call f() %}{{ f() }}{% endcall %}",
    )
    plain = f"{{% macro f(x, y=2) %}}{body}{{% endmacro %}}{{{{ f({draw(expressions(1))}) }}}}"
    return draw(st.sampled_from((plain, plain, *recursive)))
