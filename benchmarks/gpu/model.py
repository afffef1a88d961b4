"""The whole model on a GPU: time to first token, decode per token, memory, time by kernel.

    python -m benchmarks.gpu.model build/gpu/released-int4.sala --output model-int4.json

One text grows to a million tokens; at every mark the prefill clock stops and a copy of the text
decodes some tokens. In the sparse regime a chunk costs the same whatever the length of the whole
call, so that the seconds up to a mark are those of a call of that length.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import runtime
from benchmarks.gpu.step_times import profile
from benchmarks.gpu.timing import measure_ceilings
from runtime.units import parse_bytes

MARKS = (1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20)
PROFILED = (1 << 16, 1 << 18, 1 << 20)
"""Marks at which the time of every kernel is taken."""
MARGIN = 64
Profile = Callable[[Any], list[dict[str, Any]]]


def measure(
    model: Any, marks: list[int], steps: int, limit: float, profile: Profile
) -> list[dict[str, Any]]:
    """Cumulative prefill seconds and the median decode seconds at every mark within `limit`."""
    ids = np.random.default_rng(0).integers(3, model.vocabulary, marks[-1]).astype(np.int32)
    with model.sequence() as warm:
        warm.append(ids[:128])
        warm.append(ids[:1])
    spent, rows = 0.0, list[dict[str, Any]]()
    with model.sequence() as text:
        for mark in marks:
            begin = time.perf_counter()
            text.append(ids[len(text) : mark])
            spent += time.perf_counter() - begin
            times = _decode_seconds(text, steps)
            rows.append(
                {
                    "tokens": mark,
                    "prefill_seconds": spent,
                    "decode_seconds": statistics.median(times),
                    "decode_least_seconds": min(times),
                    "kernels": profile(text) if mark in PROFILED else [],
                }
            )
            if spent > limit:
                break
    return rows


def _decode_seconds(text: Any, steps: int) -> list[float]:
    times = []
    with text.fork() as copy:
        copy.append([5])
        for token in range(steps):
            begin = time.perf_counter()
            copy.append([token + 3])
            times.append(time.perf_counter() - begin)
    return times


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--marks", type=int, nargs="+", default=list(MARKS))
    parser.add_argument("--chunk", type=int, default=8192)
    parser.add_argument("--memory", help="Device memory to use at most")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument(
        "--limit", type=float, default=90, help="Seconds of prefill after which to stop"
    )
    parser.add_argument("--device", default="cuda")
    options = parser.parse_args()
    ceilings = measure_ceilings()
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    begin = time.perf_counter()
    with runtime.load(
        options.artifact,
        context=options.marks[-1] + options.chunk + MARGIN,
        chunk=options.chunk,
        sequences=2,
        memory=None if options.memory is None else parse_bytes(options.memory),
        device=options.device,
    ) as model:
        loaded = time.perf_counter() - begin
        ids = np.random.default_rng(1).integers(3, model.vocabulary, options.chunk, np.int32)

        def profiled(text: Any) -> list[dict[str, Any]]:
            chunk = profile(model, text, ids, ceilings, repeats=3)
            return chunk + profile(model, text, ids[:1], ceilings, repeats=9)

        rows = measure(model, options.marks, options.steps, options.limit, profiled)
        document = {
            "artifact": options.artifact.name,
            "chunk": options.chunk,
            "load_seconds": loaded,
            "memory": model.info()["memory"],
            "device_used_bytes": before - torch.cuda.mem_get_info()[0],
            "rows": rows,
        }
    options.output.write_text(json.dumps(document, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
