"""A loaded model in the hands of sala-run: one answer, or a conversation."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import runtime
from runtime.artifact.seeded import WARNING
from runtime.cli.bars import prompt_bar, weights_bar
from runtime.cli.common import notes, print_json
from runtime.cli.prompt import Ask, conversation_ids
from runtime.cli.summary import describe, describe_saved, saved_summary, summary
from runtime.generation import Generation, GenerationOptions
from runtime.sequence import Sequence
from runtime.tokenizer import Tokenizer

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
_END_WORDS = ("/quit", "/exit")


class Session:
    """The model of one run, its options and its console."""

    def __init__(self, ask: Ask, options: dict[str, Any], generation: GenerationOptions) -> None:
        """Load the artifact for the command's `options`."""
        self._ask = ask
        self._as_json: bool = options["as_json"]
        self._options = generation
        self._artifact = options["artifact"]
        self._state: Path | None = options["state"]
        silent = ask.text is None and not ask.chat and not Tokenizer.exists(self._artifact)
        self._in_ids = ask.ids is not None or silent
        self._console = notes()
        self._model = runtime.load(
            self._artifact,
            context=options["context"],
            memory=options["memory"],
            threads=options["threads"],
            device=options["device"],
            progress=weights_bar(self._console),
        )
        if self._model.artifact.manifest.seeded is not None:
            self._console.print(f"warning: {WARNING}", soft_wrap=True)

    def answer(self) -> int:
        """Answer the one prompt; the exit code."""
        token_ids = self._ask.token_ids(self._artifact)
        with self._sequence() as sequence, self._generation(token_ids, sequence) as generation:
            text, interrupted = self._show(generation)
            report = describe(generation, self._model, interrupted=interrupted)
        if self._as_json:
            print_json({"text": text, **report})
        else:
            self._console.print(summary(report), markup=False, soft_wrap=True)
        return INTERRUPTED if interrupted else 0

    def save(self, path: Path) -> int:
        """Read the prompt and write the state behind it to `path`; the exit code."""
        token_ids = self._ask.token_ids(self._artifact)
        began = time.perf_counter()
        with self._sequence() as sequence:
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
        """Answer the lines of standard input in one conversation; the exit code."""
        tokenizer = Tokenizer.from_files(self._artifact)
        messages = self._ask.opening()
        for line in self._lines():
            messages.append({"role": "user", "content": line})
            token_ids = conversation_ids(self._artifact, tokenizer, messages)
            with self._sequence() as sequence, self._generation(token_ids, sequence) as answer:
                text, interrupted = self._show(answer)
                if interrupted:
                    self._console.print("(interrupted)")
                messages.append({"role": "assistant", "content": text})
        return 0

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
            yield from generation.text(Tokenizer.from_files(self._artifact))
            return
        for number, token in enumerate(generation.tokens()):
            yield f" {token}" if number else str(token)

    def _sequence(self) -> Sequence:
        """A sequence of its own: the one of --state, or an empty one."""
        return self._model.sequence() if self._state is None else self._model.restore(self._state)

    @contextmanager
    def _generation(self, token_ids: list[int], sequence: Sequence) -> Iterator[Generation]:
        """A generation for `token_ids` with a bar on standard error while the prompt is read."""
        with (
            prompt_bar(self._console, len(token_ids)) as advance,
            self._model.generation(
                token_ids, self._options, progress=advance, sequence=sequence, spends=True
            ) as generation,
        ):
            yield generation
