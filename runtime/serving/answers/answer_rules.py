"""How answers of one model are restricted and read: structure, calls of tools, reasoning."""

import json
from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from typing import Any

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.serving.answers.answer_text import AnswerForm
from sala_compile.runtime.serving.structure.mark_watch import MarkTokens
from sala_compile.runtime.serving.structure.staged_constraints import AfterReasoning, WithinCalls
from sala_compile.runtime.serving.structure.structure import Structure
from sala_compile.runtime.serving.structure.structures import CompiledStructure, Structures
from sala_compile.runtime.serving.tools.call_grammar import call_structure, expression, within
from sala_compile.runtime.serving.tools.piece import AnswerParser, PlainText
from sala_compile.runtime.serving.tools.reasoning import ReasoningMarks, ReasoningParser
from sala_compile.runtime.serving.tools.tool_definitions import Tool, ToolUse
from sala_compile.runtime.serving.tools.tool_formats import ToolFormat
from sala_compile.runtime.serving.work.constraint import Constraint
from sala_compile.runtime.text.tokenizer import Tokenizer

_NO_CALL = r"/(?s:[^{ \t\r\n;,].*)?/"
"""A text that begins no call, where calls have no mark."""


@dataclass(frozen=True, slots=True)
class ReasoningPart:
    """What a prompt says of the reasoning: `inside` if it is open, no marks if there is none."""

    marks: ReasoningMarks | None = None
    inside: bool = False


@dataclass(frozen=True, slots=True)
class AnswerRule:
    """What an answer follows: `whole` all of it after the reasoning, `call` what follows the
    opening mark of a call; None for free text. `form` is how calls of `use` are written.
    """

    use: ToolUse | None = None
    form: ToolFormat | None = None
    whole: CompiledStructure | None = None
    call: CompiledStructure | None = None


class AnswerRules:
    """Compiles rules for one model, and makes what each answer needs of them. For any threads."""

    def __init__(self, tokenizer: Tokenizer, structures: Structures, ends: Set[int]) -> None:
        """Answers end with one of `ends`."""
        self.tokenizer = tokenizer
        self.structures = structures
        self._ends = ends
        self._marks: dict[str, MarkTokens] = {}

    def compile(
        self, structure: Structure | None, use: ToolUse | None, form: ToolFormat | None
    ) -> AnswerRule:
        """The rule of a request; RequestError for what cannot be enforced or not at once."""
        if use is None or form is None:
            whole = None if structure is None else self.structures.compile(structure)
            return AnswerRule(whole=whole)
        if use.required:
            if structure is not None:
                found = "an answer that must be a call cannot follow a structure"
                raise RequestError(found, structure.where, "one of them")
            return self._whole(use, form, "")
        if structure is not None:
            return self._whole(use, form, expression(structure))
        if not any(tool.strict for tool in use.tools):
            return AnswerRule(use, form)
        if not form.opening:
            return self._whole(use, form, _NO_CALL)
        call = self._compiled(
            use, lambda known: call_structure(form, known, self._spelled, opened=True)
        )
        return AnswerRule(use, form, call=call)

    def constraint(self, rule: AnswerRule, reasoning: ReasoningPart) -> Constraint | None:
        """A new constraint of one answer; None if it is free."""
        if rule.whole is not None:
            return self._after(rule.whole, reasoning)
        if rule.call is None or rule.form is None or rule.use is None:
            return None
        marks = reasoning.marks
        return WithinCalls(
            self._mark(rule.form.opening),
            rule.call.constraint,
            parallel=rule.use.parallel and rule.form.several,
            vocabulary=self.structures.tokens.vocabulary,
            reasoning=marks and (self._mark(marks.opening), self._mark(marks.closing)),
            inside=reasoning.inside,
        )

    def reading(self, rule: AnswerRule, reasoning: ReasoningPart) -> AnswerForm:
        """How one answer is read, at its beginning."""
        parser: AnswerParser = PlainText()
        marks: list[str] = []
        form = rule.form
        if rule.use is not None and form is not None:
            parser = form.parser(rule.use)
            marks += [form.opening, form.head, form.tail, form.argument, form.argument_end]
        if reasoning.marks is not None:
            marks += [reasoning.marks.opening, reasoning.marks.closing]
            parser = ReasoningParser(reasoning.marks, parser, inside=reasoning.inside)
        known = self.tokenizer.marks.items()
        read = {id: text for id, text in known if any(text in mark for mark in marks)}
        return AnswerForm(parser, read, named=rule.use is not None and rule.use.named)

    def _whole(self, use: ToolUse, form: ToolFormat, otherwise: str) -> AnswerRule:
        whole = self._compiled(
            use, lambda known: call_structure(form, known, self._spelled, otherwise=otherwise)
        )
        return AnswerRule(use, form, whole=whole)

    def _compiled(
        self, use: ToolUse, structure: Callable[[ToolUse], Structure]
    ) -> CompiledStructure:
        """The calls of `use`, without the schemas that do not compile and need not."""
        try:
            return self.structures.compile(structure(use))
        except RequestError as error:
            if error.where != "tools":
                raise
        tools = tuple(self._enforceable(tool) for tool in use.tools)
        return self.structures.compile(structure(replace(use, tools=tools)))

    def _enforceable(self, tool: Tool) -> Tool:
        """A tool whose schema compiles; RequestError if it does not and is `strict`."""
        if self._compiles(tool.schema, tool.where, strict=tool.strict):
            return tool
        known: dict[str, Any] = tool.schema.get("properties", {})
        properties: dict[str, Any] = {}
        for name, part in known.items():
            own = within(tool.schema, part)
            properties[name] = own if self._compiles(own, tool.where) else {}
        required = tool.schema.get("required", [])
        schema = {"type": "object", "properties": properties, "required": required}
        return replace(tool, schema=within(tool.schema, schema))

    def _compiles(self, schema: object, where: str, *, strict: bool = False) -> bool:
        try:
            self.structures.compile(Structure.schema(schema, where))
        except RequestError:
            if strict:
                raise
            return False
        return True

    def _after(self, whole: CompiledStructure, reasoning: ReasoningPart) -> Constraint:
        inner, marks = whole.constraint(), reasoning.marks
        if marks is None:
            return inner
        tokens = self.structures.tokens
        return AfterReasoning(
            inner,
            self._mark(marks.opening),
            self._mark(marks.closing),
            inside=reasoning.inside,
            space=tokens.space,
            ends=self._ends,
            vocabulary=tokens.vocabulary,
        )

    def _spelled(self, text: str) -> str:
        """A text as an expression of a grammar: special tokens in it by their ids."""
        for token, mark in self.tokenizer.marks.items():
            before, found, after = text.partition(mark)
            if found:
                around = [self._spelled(part) if part else "" for part in (before, after)]
                return f"{around[0]} <[{token}]> {around[1]}".strip()
        return json.dumps(text, ensure_ascii=False)

    def _mark(self, mark: str) -> MarkTokens:
        if mark not in self._marks:
            self._marks[mark] = MarkTokens(self.structures.tokens, mark)
        return self._marks[mark]
