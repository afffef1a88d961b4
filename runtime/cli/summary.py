"""What sala-run reports at the end: time, rates, memory."""

from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact import is_gpu
from sala_compile.runtime.common.units import format_bytes
from sala_compile.runtime.generation.generation import Finish, Generation
from sala_compile.runtime.model import Model

_ENDINGS = {
    Finish.END_OF_SEQUENCE: "the end of the sequence",
    Finish.STOP_STRING: "a stop string",
    Finish.MAX_TOKENS: "--max-tokens",
    Finish.CONTEXT: "the end of the context (--context)",
}
INTERRUPTED = "interrupted"
_LOADED = ("context", "chunk", "threads", "target", "device", "memory", "random_weights")
"""The part of the model's `info` that every report has."""


def describe(generation: Generation, model: Model, *, interrupted: bool) -> dict[str, Any]:
    """A generation and the memory of its model as JSON."""
    info = model.info()
    finish = generation.finish.value if generation.finish else INTERRUPTED
    return {
        "token_ids": list(generation.token_ids),
        "finish": INTERRUPTED if interrupted else finish,
        "prompt_tokens": len(generation.prompt),
        "new_tokens": len(generation.token_ids),
        "prefill": {
            "seconds": generation.prefill_seconds,
            "tokens_per_second": generation.prefill_rate,
        },
        "decode": {
            "seconds": generation.decode_seconds,
            "tokens_per_second": generation.decode_rate,
            "drafted_tokens": generation.drafted_tokens,
            "accepted_tokens": generation.accepted_tokens,
        },
        **{name: info[name] for name in _LOADED},
    }


def summary(report: dict[str, Any]) -> str:
    """The report of `describe` in three lines."""
    prefill, decode, memory = report["prefill"], report["decode"], report["memory"]
    finish, weights = report["finish"], _weights(report)
    ending = f"ended by {_ENDINGS[Finish(finish)]}" if finish != INTERRUPTED else INTERRUPTED
    return (
        f"prompt {report['prompt_tokens']} tokens in {prefill['seconds']:.3f} s "
        f"({prefill['tokens_per_second']:.0f} tokens/s)\n"
        f"answer {report['new_tokens']} tokens in {decode['seconds']:.3f} s "
        f"({decode['tokens_per_second']:.1f} tokens/s{_drafts(decode)}), {ending}\n"
        f"memory {format_bytes(memory['planned_bytes'])} planned, "
        f"{format_bytes(memory['total_bytes'])} used, of it "
        f"{format_bytes(memory['parts']['weights'])} {weights}; {report['device']}"
    )


def _drafts(decode: dict[str, Any]) -> str:
    if not decode["drafted_tokens"]:
        return ""
    return f", {decode['accepted_tokens']} of {decode['drafted_tokens']} drafts were right"


def _weights(report: dict[str, Any]) -> str:
    if report["random_weights"]:
        return "random weights"
    return "weights" if is_gpu(report["target"]) else "mapped weights"


def describe_saved(
    path: Path, tokens: int, new_tokens: int, seconds: float, model: Model
) -> dict[str, Any]:
    """A saved state of `tokens` tokens, of which `new_tokens` were read in `seconds`, as JSON."""
    info = model.info()
    return {
        "state": str(path),
        "state_bytes": path.stat().st_size,
        "tokens": tokens,
        "prompt_tokens": new_tokens,
        "prefill": {
            "seconds": seconds,
            "tokens_per_second": new_tokens / seconds if seconds else 0.0,
        },
        **{name: info[name] for name in _LOADED},
    }


def saved_summary(report: dict[str, Any]) -> str:
    """The report of `describe_saved` in two lines."""
    prefill = report["prefill"]
    return (
        f"prompt {report['prompt_tokens']} tokens in {prefill['seconds']:.3f} s "
        f"({prefill['tokens_per_second']:.0f} tokens/s)\n"
        f"state of {report['tokens']} tokens in {report['state']}, "
        f"{format_bytes(report['state_bytes'])}"
    )
