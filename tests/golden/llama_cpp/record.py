"""What llama.cpp makes of texts and of a conversation with SmolLM2, recorded for `test_smollm2.py`.

    PYTHON -m tests.golden.llama_cpp.record MODEL.gguf

PYTHON is that of an environment with llama-cpp-python; MODEL.gguf is the file that
`python -m examples.chat.smollm2` prints. One thread, so that a second run gives the same.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import Llama, __version__
from llama_cpp.llama_chat_format import Jinja2ChatFormatter

from tests.golden.llama_cpp.texts import ANSWER_TOKENS, CONVERSATION, corpus

RECORDED = Path(__file__).with_name("smollm2.json")


def main() -> None:
    """Record both."""
    llama = Llama(sys.argv[1], n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)
    document = {
        "llama_cpp_python": __version__,
        "ids": [_ids(llama, text) for text in corpus()],
        "turns": _conversation(llama),
    }
    RECORDED.write_text(_lines(document))


def _ids(llama: Llama, text: str) -> list[int]:
    """Special tokens in the text are themselves; nothing is put around it."""
    return llama.tokenize(text.encode("utf-8"), add_bos=False, special=True)


def _conversation(llama: Llama) -> list[dict[str, Any]]:
    """Every turn: the ids of the prompt, the greedy answer, the lead of each token in logits."""
    formatter = Jinja2ChatFormatter(
        template=llama.metadata["tokenizer.chat_template"],
        eos_token="<|im_end|>",
        bos_token="<|im_start|>",
        stop_token_ids=[],
    )
    messages: list[Any] = []
    turns = []
    for text in CONVERSATION:
        messages.append({"role": "user", "content": text})
        prompt = formatter(messages=messages).prompt
        ids = _ids(llama, prompt)
        answer, leads = _greedy(llama, ids)
        content = llama.detokenize(answer, special=False).decode("utf-8")
        turns.append({"prompt": ids, "answer": answer, "leads": leads, "text": content})
        messages.append({"role": "assistant", "content": content})
    return turns


def _greedy(llama: Llama, ids: list[int]) -> tuple[list[int], list[float]]:
    """The likeliest tokens to the end of the turn, and how far each was before the second."""
    llama.reset()
    llama.eval(ids)
    answer: list[int] = []
    leads: list[float] = []
    while len(answer) < ANSWER_TOKENS:
        logits = np.ctypeslib.as_array(llama._ctx.get_logits_ith(-1), (llama.n_vocab(),))
        second, first = np.argsort(logits)[-2:]
        leads.append(round(float(logits[first] - logits[second]), 3))
        if first == llama.token_eos():
            break
        answer.append(int(first))
        llama.eval([int(first)])
    return answer, leads


def _lines(document: dict[str, Any]) -> str:
    """JSON with a line for every text and turn."""
    parts = [f'"llama_cpp_python": {json.dumps(document["llama_cpp_python"])}']
    for name in ("ids", "turns"):
        rows = ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in document[name])
        parts.append(f'"{name}": [\n  {rows}\n ]')
    return "{\n " + ",\n ".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
