"""A loaded model in sala-run: one answer, or a conversation."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sala_compile
from sala_compile.runtime.artifact.seeded import WARNING
from sala_compile.runtime.cli.answer_flags import answer_options
from sala_compile.runtime.cli.bars import prompt_bar, weights_bar
from sala_compile.runtime.cli.common import notes, print_json
from sala_compile.runtime.cli.conversation import ContextError, Conversation, TemplateChoice
from sala_compile.runtime.cli.prompt import Ask, prompt_notes
from sala_compile.runtime.cli.reuse import SNAPSHOTS, ReusedSequence
from sala_compile.runtime.cli.summary import describe, describe_saved, saved_summary, summary
from sala_compile.runtime.generation.generation import Finish, Generation
from sala_compile.runtime.generation.generation_config import Defaults
from sala_compile.runtime.sequence import TokenSequence
from sala_compile.runtime.text.templates.chat import Message
from sala_compile.runtime.text.tokenizer import TOKENIZER_FILE

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
_END_WORDS = ("/quit", "/exit")


class Session:
    """The model of one run, its options and its console."""

    def __init__(self, request: Ask, options: dict[str, Any], template: TemplateChoice) -> None:
        """Load the artifact for the command's `options`."""
        self._request = request
        self._template = template
        self._as_json: bool = options["as_json"]
        self._artifact = options["artifact"]
        self._state: Path | None = options["state"]
        self._console = notes()
        self._model = sala_compile.load(
            self._artifact,
            context=options["context"],
            memory=options["memory"],
            threads=options["threads"],
            device=options["device"],
            verify_key=options["verify_key"],
            snapshots=SNAPSHOTS if request.interactive else 0,
            speculate=options["speculate"],
            draft=options["draft"],
            progress=weights_bar(self._console),
        )
        silent = not (request.text or request.chat or self._model.artifact.has(TOKENIZER_FILE))
        self._in_ids = request.ids is not None or silent
        self._options = self._model.generation_options(**answer_options(options))
        self._warn(options["defaults"])

    def _warn(self, defaults: str) -> None:
        """Print what users should know of the model before its answer."""
        manifest = self._model.artifact.manifest
        if manifest.seeded is not None:
            self._console.print(f"warning: {WARNING}", soft_wrap=True)
        notes = list(self._model.generation_defaults.notes) if defaults != Defaults.NONE else []
        for note in [*notes, *self._model.notes]:
            self._console.print(f"note: {note}", markup=False, soft_wrap=True)

    def answer(self) -> int:
        """Answer the one prompt; the exit code."""
        with self._sequence() as sequence:
            token_ids = self._prompt(sequence)
            with self._generation(token_ids, sequence) as generation:
                text, interrupted = self._show(generation)
                report = describe(generation, self._model, interrupted=interrupted)
        if self._as_json:
            print_json({"text": text, **report})
        else:
            self._console.print(summary(report), markup=False, soft_wrap=True)
        return INTERRUPTED if interrupted else 0

    def save(self, path: Path) -> int:
        """Read the prompt and write the state after it to `path`; the exit code."""
        with self._sequence() as sequence:
            token_ids = self._prompt(sequence)
            began = time.perf_counter()
            sequence.check_save(path, len(token_ids))
            try:
                if token_ids:
                    with prompt_bar(self._console, len(token_ids)) as advance:
                        sequence.append(token_ids, advance)
            except KeyboardInterrupt:
                self._console.print("interrupted, nothing is saved")
                return INTERRUPTED
            seconds = time.perf_counter() - began
            sequence.save(path)
            report = describe_saved(path, len(sequence), len(token_ids), seconds, self._model)
        if self._as_json:
            print_json(report)
        else:
            self._console.print(saved_summary(report), markup=False)
        return 0

    def talk(self) -> int:
        """Answer the lines of standard input in one conversation; the exit code.

        Its state is kept from turn to turn: of every turn only the tokens that the text does not
        begin with already are read.
        """
        conversation = self._conversation(self._request.opening())
        with self._model.sequence() as sequence:
            held = ReusedSequence(sequence)
            for line in self._lines():
                conversation.ask(line)
                try:
                    token_ids, dropped = conversation.fit(
                        self._model.context, self._options.max_new_tokens
                    )
                except ContextError as error:
                    conversation.turns.pop()
                    self._console.print(f"({error.found})", markup=False, soft_wrap=True)
                    continue
                if dropped:
                    self._console.print(_forgotten(self._model.context, dropped))
                self._turn(conversation, held, token_ids)
        return 0

    def _turn(self, conversation: Conversation, held: ReusedSequence, token_ids: list[int]) -> None:
        """Answer the newest message, whose conversation has the ids `token_ids`."""
        try:
            with prompt_bar(self._console, len(token_ids)) as advance:
                rest = held.begin(
                    token_ids,
                    opening=conversation.shared(token_ids),
                    boundary=conversation.settled(token_ids),
                    progress=advance,
                )
        except KeyboardInterrupt:
            conversation.turns.pop()
            self._console.print("(interrupted, the message is not read)")
            return
        with self._generation(rest, held.sequence) as answer:
            text, interrupted = self._show(answer)
            held.answered(answer.token_ids)
        conversation.answer(text)
        if interrupted:
            self._console.print("(interrupted)")
        elif answer.finish is Finish.CONTEXT:
            self._console.print(f"(the context of {self._model.context} tokens ends here)")

    def _conversation(self, opening: list[Message]) -> Conversation:
        model = self._model
        return Conversation(model.artifact, model.tokenizer, self._template, opening)

    def _prompt(self, sequence: TokenSequence) -> list[int]:
        """The ids of the one prompt, which goes after the text of `sequence`."""
        before = sequence.token_ids
        if self._request.text is not None:
            self._model.require_room(self._request.text, len(before))
        if self._request.chat:
            token_ids = self._conversation(self._request.opening()).token_ids(before)
        else:
            token_ids = self._request.token_ids(
                self._artifact, before, lambda: self._model.tokenizer
            )
        if self._request.text is not None and not before:
            for note in prompt_notes(self._model.tokenizer, token_ids):
                self._console.print(f"note: {note}", markup=False, soft_wrap=True)
        return token_ids

    def _lines(self) -> Iterator[str]:
        """What the user says, until the end of standard input or a word that ends."""
        terminal = sys.stdin.isatty()
        if terminal:
            self._console.print("Type a message; /quit or Ctrl-D ends.", style="dim")
        while True:
            if terminal:
                self._console.print("> ", style="bold", end="")
            try:
                line = sys.stdin.readline()
            except KeyboardInterrupt:
                return
            if not line or line.strip() in _END_WORDS:
                return
            if line.strip():
                yield line.rstrip("\n")

    def _show(self, generation: Generation) -> tuple[str, bool]:
        """Print the answer as it comes; its text and whether Ctrl-C ended it."""
        pieces: list[str] = []
        interrupted = False
        try:
            for piece in self._pieces(generation):
                pieces.append(piece)
                if not self._as_json:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
        except KeyboardInterrupt:
            interrupted = True
        if not self._as_json:
            sys.stdout.write("\n")
            sys.stdout.flush()
        return "".join(pieces), interrupted

    def _pieces(self, generation: Generation) -> Iterator[str]:
        if not self._in_ids:
            yield from generation.text(self._model.tokenizer)
            return
        for number, token in enumerate(generation.tokens()):
            yield f" {token}" if number else str(token)

    def _sequence(self) -> TokenSequence:
        """A sequence of its own: the one of --state, or an empty one."""
        return self._model.sequence() if self._state is None else self._model.restore(self._state)

    @contextmanager
    def _generation(self, token_ids: list[int], sequence: TokenSequence) -> Iterator[Generation]:
        """A generation for `token_ids` with a bar on standard error while the prompt is read."""
        with (
            prompt_bar(self._console, len(token_ids)) as advance,
            self._model.generation(
                token_ids, self._options, progress=advance, sequence=sequence, ahead=True
            ) as generation,
        ):
            yield generation


def _forgotten(context: int, turns: int) -> str:
    """The note when the oldest turns were dropped."""
    oldest = "the oldest turn is" if turns == 1 else f"the oldest {turns} turns are"
    return f"(the context of {context} tokens is full: {oldest} forgotten)"
