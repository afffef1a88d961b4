"""Each kernel's README says how its threads wait, and its code is as it says.

The rules of `tests/support/ptx/order.py` hold on every way through the code of every function.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from sala_compile.codegen.targets.cuda import CudaTarget
from tests.support.ptx.divergence import divergences
from tests.support.ptx.families import texts_of_families
from tests.support.ptx.mechanisms import ALLOWED, mechanisms
from tests.support.ptx.order import RULES, violations
from tests.support.ptx.program import Program

KERNELS = Path(__file__).parents[3] / "codegen" / "kernels"
ARCHITECTURES = (90, 100)
SECTION = re.compile(r"^## Waits\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| (.*) \| (.*) \|$", re.MULTILINE)
FUNCTION = re.compile(r"^@triton\.jit\ndef ([a-z]\w*)\(\s*control\b", re.MULTILINE)
WORDS = {
    "barriers": "barrier",
    "shuffles": "shuffle",
    "copies": "cop",
    "mma": "product",
    "wgmma": "`wgmma`",
    "tcgen05": "tensor memory",
}
"""What the argument has to say something of, where the code has it."""
FAMILIES = sorted(path.name for path in KERNELS.iterdir() if [*path.glob("gpu*")])


def section(family: str) -> str:
    """What a README says of waits."""
    found = SECTION.search((KERNELS / family / "README.md").read_text(encoding="utf-8"))
    assert found, f"{family}/README.md has no section of waits"
    return found[1]


def rows(family: str) -> list[str]:
    """The table that the section has to have, from the code."""
    found: dict[str, list[str]] = defaultdict(list)
    for architecture in ARCHITECTURES:
        texts = texts_of_families(CudaTarget(architecture))
        for (name, function), each in texts.items():
            if name == family:
                found[function].append(", ".join(mechanisms(each)) or "nothing")
    return [f"| `{function}` | {' | '.join(cells)} |" for function, cells in found.items()]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_readme_says_what_threads_wait_for(family: str) -> None:
    text = section(family)
    expected = "\n".join(sorted(rows(family)))
    assert expected, f"no model of tests/support/ptx/families.py launches {family}"
    assert "\n".join(sorted(match[0] for match in ROW.finditer(text))) == expected
    argument = text.partition("\n| ")[0]
    named = {name for match in ROW.finditer(text) for name in re.split(r", | \| ", match[0])}
    for name, word in WORDS.items():
        assert name not in named or word in argument, f"no word of {name}"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_function_keeps_the_order_and_its_threads_together(architecture: int) -> None:
    texts = texts_of_families(CudaTarget(architecture))
    assert len(texts) > 25
    for (_, function), each in texts.items():
        assert set(mechanisms(each)) <= ALLOWED, function
        for text in each:
            program = Program(text)
            assert divergences(program) == [], function
            for rule in RULES[architecture]:
                assert not list(violations(program, rule)), (function, rule.why)


def test_no_function_that_a_kernel_launches_is_left_out() -> None:
    """Those take the sizes of a step first."""
    sources = (path.read_text(encoding="utf-8") for path in KERNELS.glob("*/**/*.py"))
    launched = {name for text in sources for name in FUNCTION.findall(text)}
    assert len(launched) >= 29
    assert launched == {function for _, function in texts_of_families(CudaTarget(90))}
