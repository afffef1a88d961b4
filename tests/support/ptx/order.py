"""Orders that hold on every way through a program, whatever its branches do.

The emulator sees the ways that a run takes, and no tensor memory; this sees all, and the text only.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.support.ptx.program import Instruction, Label, Program

Pattern = re.Pattern[str]
Follow = Callable[[Program, int], tuple[int, ...]]
"""Where a thread can be after an instruction."""


@dataclass(frozen=True, slots=True)
class Rule:
    """From `after` to `before` every way passes all of `between`, in this order.

    All are patterns of opcodes; `why` is the sentence of the argument that the rule checks. With
    `or_in_text` the way of the text alone is enough: where a loop may have no iteration, a branch
    around a wait and one around the product that it is for are the same, which no pattern tells.
    """

    why: str
    after: Pattern
    between: tuple[Pattern, ...]
    before: Pattern
    or_in_text: bool = False


def violations(program: Program, rule: Rule) -> Iterator[str]:
    """For each place that breaks the rule, where it begins and where it ends."""
    for start, instruction in enumerate(program.instructions):
        if rule.after.match(instruction.opcode):
            end = _reached(program, rule, start, _next)
            if end is not None and rule.or_in_text:
                end = _reached(program, rule, start, _in_text)
            if end is not None:
                yield f"{instruction.text[:60]} -> {program.instructions[end].text[:60]}"


def uses(program: Program, rule: Rule) -> int:
    """How many places a rule applies to: one that none applies to shows nothing."""
    return sum(bool(rule.after.match(each.opcode)) for each in program.instructions)


def _reached(program: Program, rule: Rule, start: int, follow: Follow) -> int | None:
    """A place that matches `before` on a way from `start` that lacks a part of `between`."""
    waiting = deque((place, 0) for place in follow(program, start))
    seen = set(waiting)
    while waiting:
        place, passed = waiting.popleft()
        if place >= len(program.instructions):
            continue
        instruction = program.instructions[place]
        if rule.before.match(instruction.opcode):
            return place
        # A guarded instruction counts: its predicate elects the thread that acts for its warp.
        passed += bool(rule.between[passed].match(instruction.opcode))
        if passed == len(rule.between):
            continue
        for follower in follow(program, place):
            if (follower, passed) not in seen:
                seen.add((follower, passed))
                waiting.append((follower, passed))
    return None


def _next(program: Program, place: int) -> tuple[int, ...]:
    """Where a thread can be after an instruction."""
    instruction = program.instructions[place]
    if instruction.head in ("ret", "exit"):
        return () if instruction.guard is None else (place + 1,)
    if instruction.head != "bra":
        return (place + 1,)
    target = program.labels[_label(instruction)]
    return (target,) if instruction.guard is None else (place + 1, target)


def _in_text(program: Program, place: int) -> tuple[int, ...]:
    """The next instruction of the text."""
    return (place + 1,)


def _label(instruction: Instruction) -> str:
    label = instruction.operands[0]
    assert isinstance(label, Label), instruction.text
    return label.name


def _rule(
    why: str, after: str, between: tuple[str, ...], before: str, *, or_in_text: bool = False
) -> Rule:
    passed = tuple(re.compile(each) for each in between)
    return Rule(why, re.compile(after), passed, re.compile(before), or_in_text)


_STORED = r"st\.shared|stmatrix|cp\.async\.wait"
_FENCE = r"fence\.proxy\.async"
_BARRIER = r"bar\.sync|barrier\."
_WAIT = r"mbarrier\.try_wait"
_TENSOR_STORED, _TENSOR_LOADED = r"tcgen05\.wait::st", r"tcgen05\.wait::ld"

WARPGROUP_RULES = (
    _rule("threads that store an operand show it to the tensor cores",
          _STORED, (_FENCE,), r"wgmma\.mma"),
    _rule("products are committed, then waited for, before the program ends",
          r"wgmma\.mma", (r"wgmma\.commit", r"wgmma\.wait"), r"ret|exit"),
    _rule("registers are ordered before the next products after a wait",
          r"wgmma\.wait", (r"wgmma\.fence",), r"wgmma\.mma"),
)  # fmt: skip
"""Of sm_90."""

TENSOR_MEMORY_RULES = (
    _rule("threads that store an operand show it to the tensor cores and meet before one of them"
          " begins the product", _STORED, (_FENCE, _BARRIER), r"tcgen05\.mma"),
    _rule("what threads store in tensor memory is there, for all, before a product adds to it",
          r"tcgen05\.st", (_TENSOR_STORED, _BARRIER), r"tcgen05\.mma"),
    _rule("a product is committed to a barrier in memory, and waited for, before tensor memory is"
          " read", r"tcgen05\.mma", (r"tcgen05\.commit", _WAIT), r"tcgen05\.ld", or_in_text=True),
    _rule("all threads have what they read of tensor memory before it is given back",
          r"tcgen05\.ld", (_TENSOR_LOADED,), r"tcgen05\.dealloc"),
    _rule("the place of tensor memory is read after the warp that was given it has written it",
          r"tcgen05\.alloc", (_BARRIER,), r"ld\.shared"),
    _rule("barriers in memory are there before a product is committed to them",
          r"mbarrier\.init", (_BARRIER,), r"tcgen05\.commit"),
    _rule("and stay until nobody waits", _WAIT, (_BARRIER,), r"mbarrier\.inval"),
)  # fmt: skip
"""Of sm_100."""

RULES = {90: WARPGROUP_RULES, 100: TENSOR_MEMORY_RULES}
"""By architecture."""
