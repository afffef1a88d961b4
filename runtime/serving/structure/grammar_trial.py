"""A process of its own that tries to compile grammars, and that may end in the attempt.

Reads a JSON list of kind and source from each line of standard input, and writes what is wrong with
it, empty if nothing is, as JSON on a line. A grammar that takes too long, too much memory or too
much of the stack ends the process.
"""

import json
import re
import resource
import signal
import sys
import threading

from llguidance import LLTokenizer, TokenizerWrapper

from sala_compile.runtime.serving.structure.library_grammar import GrammarFailure, compiled

SECONDS = 2.0
"""Of processor time, for each."""
_BYTES = 4 << 30
_STACK = 64 << 20
_TOKEN = re.compile(r"<\[[\d,^*-]+\]>")
"""Tokens by id, in a grammar; this vocabulary has fewer."""


class _Bytes:
    """A vocabulary of all bytes."""

    eos_token_id = 256
    bos_token_id = None
    tokens = (*(bytes([value]) for value in range(256)), b"<|end|>")
    special_token_ids = (256,)

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


def _serve() -> None:
    tokenizer = LLTokenizer(TokenizerWrapper(_Bytes()), eos_token=[256])
    for line in sys.stdin:
        kind, source = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        wrong = ""
        try:
            compiled(tokenizer, kind, _TOKEN.sub("<[256]>", source))
        except GrammarFailure as failure:
            wrong = str(failure)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(wrong), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server's: it ends this process's input
    threading.stack_size(_STACK)
    thread = threading.Thread(target=_serve)
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
