"""The tables of servers under load."""

from collections.abc import Iterable
from itertools import groupby
from statistics import median
from typing import Any

from benchmarks.markdown import Document, page, table
from benchmarks.served.long_prompts import DOCUMENT, LONG, STALLING, STREAMS
from benchmarks.served.server_process import OURS

Row = dict[str, Any]


def brief(part: str, row: Row) -> str:
    """A row in a line."""
    if part == "streams":
        rates = (f"{side} {found['tokens_per_second']:.1f}" for side, found in row.items())
        return f"{', '.join(rates)} tokens/s"
    if part == "decode":
        return f"{row['http']:.1f} of {row['bench']:.1f} tokens/s"
    if part == "stalls":
        gaps = (f"{side} {_time(found['while'])}" for side, found in row.items())
        return f"longest gap {', '.join(gaps)}"
    if part == "gap":
        return f"longest gap {_time(row['while'])}"
    return ", ".join(f"{kind} {_time(row[kind])}" for kind in ("first", "second", "restarted"))


def markdown(document: Document) -> str:
    """The page."""
    blocks: list[str | list[str]] = []
    parts, stall = document["rows"], document["asked"]["max_stall"]
    rounds = {part: list(rows.values()) for part, rows in parts.items()}
    if "streams" in parts:
        blocks += [
            "Requests of 16 to 400 words for 24 to 80 tokens, over so many streams; each stream "
            "asks one after the other. SmolLM2-135M-Instruct, the same GGUF file; "
            f"{document['asked']['batch']} answers at a time. Times are 50th, 95th and 99th "
            "percentiles; medians over the rounds, in which the sides take turns.",
            _streams(parts["streams"]),
        ]
    if "decode" in parts:
        blocks.append(_decode(rounds["decode"], document["asked"]["batch"]))
    if "stalls" in parts:
        blocks += [
            f"A prompt of {STALLING:,} tokens among {STREAMS} running streams of the same model "
            f"(the worst of {len(rounds['stalls'])} rounds; the first token is a median):",
            _stalls(rounds["stalls"]),
        ]
    if "gap" in parts:
        blocks.append(_gap(rounds["gap"], stall))
    if "questions" in parts:
        blocks.append(_questions(rounds["questions"]))
    return page("Servers under load", document, *blocks)


def _streams(rows: dict[str, dict[str, Row]]) -> list[str]:
    lines: list[list[str]] = []
    names = sorted(rows, key=lambda name: int(name.split()[0]))
    for streams, group in groupby(names, key=lambda name: name.split()[0]):
        rounds = [rows[name] for name in group]
        own = median(found[OURS]["tokens_per_second"] for found in rounds)
        for side in sorted(rounds[0], key=lambda side: side != OURS):
            found = {name: median(r[side][name] for r in rounds) for name in rounds[0][side]}
            firsts = " / ".join(_time(found[f"first_p{part}"]) for part in (50, 95, 99))
            gaps = " / ".join(_time(found[f"gap_p{part}"]) for part in (50, 95, 99))
            rate = found["tokens_per_second"]
            lines.append([streams, side, f"{rate:.1f}", f"{own / rate:.2f}", firsts, gaps])
    head = ["streams", "server", "tokens/s", "ours / its", "first token", "between tokens"]
    return table(head, lines, texts=2)


def _decode(rounds: list[Row], batch: int) -> str:
    sides = ("http", "scheduler", "bench")
    http, scheduler, bench = (median(each[side] for each in rounds) for side in sides)
    ratio = median(each["http"] / each["bench"] for each in rounds)
    step, scheduled, alone = (1000 * batch / rate for rate in (http, scheduler, bench))
    return (
        f"Decoding {batch} answers at a time: {http:.1f} tokens/s over HTTP, {scheduler:.1f} by "
        f"the scheduler without it, {bench:.1f} by sala-bench on the same artifact, in turn: over "
        f"HTTP {100 * ratio:.1f} % of that (median of {len(rounds)} turns; at least 90 %). A step "
        f"takes {step:.2f} ms over HTTP, of which HTTP and its client on the same CPUs are "
        f"{step - scheduled:.2f} ms; {scheduled:.2f} ms by the scheduler alone, {alone:.2f} ms in "
        "sala-bench, which counts what its threads waited between two of them."
    )


def _stalls(rounds: list[dict[str, Row]]) -> list[str]:
    lines = [
        [
            side,
            _time(max(each[side]["while"] for each in rounds)),
            _time(max(each[side]["before"] for each in rounds)),
            _time(median(each[side]["first"] for each in rounds)),
        ]
        for side in rounds[0]
    ]
    head = ["server", "longest gap while it is read", "longest gap before", "its first token"]
    return table(head, lines, texts=1)


def _gap(rounds: list[Row], stall: float) -> str:
    worst, before = (max(each[kind] for each in rounds) for kind in ("while", "before"))
    usual, first = (median(each[kind] for each in rounds) for kind in ("median", "first"))
    return (
        f"A prompt of {LONG:,} tokens among {STREAMS} running streams "
        f"(the trained example, sparse attention): the longest gap of a stream is {_time(worst)} "
        f"while it is read ({worst / stall:.2f} of --max-stall {stall:g}s; at most 1.5), the "
        f"median {_time(usual)}; {_time(before)} was the longest before. The prompt's first "
        f"token comes after {first:.2f} s."
    )


def _questions(rounds: list[Row]) -> str:
    first = median(each["first"] for each in rounds)
    second, restarted = (_later(rounds, kind) for kind in ("second", "restarted"))
    return (
        f"Questions on a document of {DOCUMENT:,} tokens: the first token of the first "
        f"question comes after {_time(first)}, of the second after {second}; below 3 %), of one "
        f"after a restart with --prefix-dir after {restarted}; below 10 %). The restarted server "
        f"reused {min(each['cached'] for each in rounds):,} tokens; the one before it ended with "
        f"code {max(each['exit_code'] for each in rounds)} and left "
        f"{_mebibytes(each['bytes'] for each in rounds)} MiB."
    )


def _later(rounds: list[Row], kind: str) -> str:
    seconds = median(each[kind] for each in rounds)
    ratio = median(each[kind] / each["first"] for each in rounds)
    return f"{_time(seconds)} ({100 * ratio:.2f} %"


def _mebibytes(sizes: Iterable[int]) -> str:
    return f"{max(sizes) / 2**20:.1f}"


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
