"""The results of `benchmarks.long_context` as JSON and as a table for people."""

from typing import Any

from benchmarks.markdown import page, table
from sala_compile.runtime.common.units import format_bytes, format_tokens

FIRST = 16 << 10
"""The length whose decode time others are compared with."""


def with_derived(document: dict[str, Any]) -> dict[str, Any]:
    """The document with what follows from its points."""
    return document | {
        "derived": derived(document["points"], document["segments"]),
        "filled_derived": derived(document["filled"], []),
    }


def derived(
    points: list[dict[str, float]], segments: list[dict[str, float]]
) -> list[dict[str, float]]:
    """For each point: prefill speed on the way there, decode time, and what the keys cost."""
    rows, before = [], 0
    base = next((p for p in points if p["tokens"] == FIRST), None)
    for point in points:
        on_the_way = [s for s in segments if before < s["until"] <= point["tokens"]]
        seconds = sum(segment["seconds"] for segment in on_the_way)
        row = {
            "tokens": point["tokens"],
            "prefill_tokens_per_second": sum(s["tokens"] for s in on_the_way) / (seconds or 1),
            "read": len(on_the_way),
            "prefill_waited": sum(s["waited"] * s["seconds"] for s in on_the_way) / (seconds or 1),
            "decode_ms": point["decode_seconds"] * 1e3,
        }
        if base is not None and point["tokens"] > FIRST:
            added = point["compressed_key_bytes"] - base["compressed_key_bytes"]
            reading = added / point["bandwidth"] * 1e3
            increase = (point["decode_seconds"] - base["decode_seconds"]) * 1e3
            row |= {
                "times_16k": point["decode_seconds"] / base["decode_seconds"],
                "increase_ms": increase,
                "reading_added_keys_ms": reading,
                "increase_over_reading": increase / reading,
            }
        rows.append(row)
        before = point["tokens"]
    return rows


def markdown(document: dict[str, Any]) -> str:
    """The tables."""
    model, memory, filled = document["model"], document["memory"], document["filled"]
    held = memory and (
        f"Anonymous memory: {format_bytes(memory['planned_anonymous_bytes'])} planned, at most "
        f"{format_bytes(memory['largest_held_bytes'])} held while the text grew; weights "
        f"{format_bytes(memory['weights_bytes'])} are mapped beside it."
    )
    told = (
        "Filled: decoding over caches of random keys, values, compressed keys and recurrent "
        "states, restored from a state file and never read as a text."
    )
    batches = document["batches"]
    return page(
        "Long contexts on the CPU",
        document,
        f"{model['layers']} layers of the released width, heads and sparse sizes (the first of "
        f"each four is sparse), feed-forward {model['intermediate']}, vocabulary "
        f"{model['vocabulary']}, random bfloat16 weights; chunks of {model['chunk']} tokens. Made "
        "by `python -m benchmarks.long_context`.",
        _points(document["points"], document["derived"]),
        told if filled else "",
        _points(filled, document["filled_derived"]) if filled else "",
        held or "",
        "Sequences of unequal lengths, one token each:" if batches else "",
        _batches(document) if batches else "",
    )


def _points(points: list[dict[str, float]], figures: list[dict[str, float]]) -> list[str]:
    """A table; columns of the prefill are empty where nothing was read."""
    head = (
        "tokens",
        "prefill tokens/s",
        "waited for a CPU",
        "decode ms",
        "clean samples",
        "GB/s",
        "times 16K",
        "increase ms",
        "reading added keys ms",
        "ratio",
    )
    rows = []
    for point, row in zip(points, figures, strict=True):
        rows.append(
            (
                format_tokens(int(row["tokens"])),
                f"{row['prefill_tokens_per_second']:.0f}" if row["read"] else "",
                f"{row['prefill_waited']:.0%}" if row["read"] else "",
                f"{row['decode_ms']:.2f}",
                f"{point['clean_samples']}/{point['samples']}",
                f"{point['bandwidth'] / 1e9:.1f}",
                *(
                    f"{row[name]:.2f}" if name in row else ""
                    for name in (
                        "times_16k",
                        "increase_ms",
                        "reading_added_keys_ms",
                        "increase_over_reading",
                    )
                ),
            )
        )
    return table(head, rows)


def _batches(document: dict[str, Any]) -> list[str]:
    rows = [
        (
            str(row["batch"]),
            f"{row['one_by_one_seconds'] * 1e3:.2f}",
            f"{row['together_seconds'] * 1e3:.2f}",
            f"{row['one_by_one_seconds'] / row['together_seconds']:.2f}",
            f"{row['clean_samples']}/{row['samples']}",
        )
        for row in document["batches"]
    ]
    return table(("batch", "one by one ms", "in one pass ms", "speed-up", "clean samples"), rows)
