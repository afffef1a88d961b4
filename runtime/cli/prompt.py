"""The request to a command: a text, token ids or a conversation, turned into token ids."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sala_compile.runtime.errors import RequestError
from sala_compile.runtime.text.templates.chat import ChatTemplate, Message
from sala_compile.runtime.text.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Ask:
    """One of `text` and `ids`; with `chat`, a text is the first message of a conversation.

    With `chat` alone the messages are read from standard input. With `continues` the tokens go
    after a text that is there already, and there may be none.
    """

    text: str | None = None
    ids: str | None = None
    chat: bool = False
    system: str | None = None
    continues: bool = False

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, what is missing and what is empty."""
        if self.text is not None and self.ids is not None:
            raise _contradiction("a text and token ids")
        if self.ids is not None and self.chat:
            raise _contradiction("--ids and --chat")
        if self.system is not None and not self.chat:
            raise _contradiction("--system without --chat")
        if self.continues and self.interactive:
            raise RequestError("--state does not hold a conversation", fix="give a --prompt")
        if self.text is None and self.ids is None and not self.chat and not self.continues:
            raise RequestError(
                "there is no prompt", fix="give one with --prompt, --prompt-file, --ids or --chat"
            )
        if self.text == "":
            raise RequestError("the prompt is empty", expected="at least one character")

    @property
    def interactive(self) -> bool:
        """Whether messages come from standard input, turn by turn."""
        return self.chat and self.text is None

    def opening(self) -> list[Message]:
        """The messages of the conversation before its first turn is answered."""
        messages: list[Message] = []
        if self.system is not None:
            messages.append({"role": "system", "content": self.system})
        if self.text is not None:
            messages.append({"role": "user", "content": self.text})
        return messages

    def token_ids(
        self,
        artifact: Path,
        before: Sequence[int] | None = None,
        tokenizer: Callable[[], Tokenizer] | None = None,
    ) -> list[int]:
        """The prompt in token ids, with the tokenizer and the chat template of `artifact`.

        `tokenizer` gives the one that was loaded already. `before` are the ids that a prompt which
        continues goes after, None if they are not known.
        """
        if self.ids is not None:
            return parse_ids(self.ids)
        if self.text is None and self.continues:
            return []
        loaded = Tokenizer.from_files(artifact) if tokenizer is None else tokenizer()
        if self.chat:
            return conversation_ids(artifact, loaded, self.opening(), before or ())
        if self.continues:
            return loaded.encode_continuation(self.text or "", before)
        return loaded.encode(self.text or "")


def conversation_ids(
    artifact: Path, tokenizer: Tokenizer, messages: list[Message], before: Sequence[int] = ()
) -> list[int]:
    """Token ids of `messages` after those of a text; the template writes the special tokens."""
    text = ChatTemplate.from_files(artifact).render(messages)
    return tokenizer.encode_continuation(text, before)


def prompt_notes(tokenizer: Tokenizer, token_ids: Sequence[int]) -> list[str]:
    """What a user may wonder about in a prompt of these ids."""
    twice = tokenizer.begins_twice(token_ids)
    if twice is None:
        return []
    return [
        f"the prompt begins with {twice} twice: the tokenizer puts one before every text; leave it "
        "out of the text if the model was trained with one"
    ]


def parse_ids(text: str) -> list[int]:
    """Token ids separated by commas or spaces."""
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if not words:
        raise RequestError("the prompt is empty", expected="at least one token id")
    wrong = [word for word in words if not word.isdecimal()]
    if wrong:
        raise RequestError(
            f"{wrong[0]!r} is not a token id",
            where="--ids",
            expected="whole numbers such as 1,17,5",
        )
    return [int(word) for word in words]


def _contradiction(what: str) -> RequestError:
    return RequestError(f"{what} exclude each other", fix="give only one of them")
