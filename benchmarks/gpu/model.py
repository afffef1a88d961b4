"""The whole model on a GPU: time to first token, decode per token, memory, time by kernel.

python -m benchmarks.gpu.model build/gpu build/gpu/results --part model-int4 --artifact int4
"""

import argparse
import time
from typing import Any

import numpy as np
import torch

import sala_compile
from benchmarks.gpu.marks import MARKS, measure_marks
from benchmarks.gpu.part import Part, part
from benchmarks.gpu.predictions import read
from benchmarks.gpu.results import Document
from benchmarks.gpu.roofline import Ceilings
from benchmarks.gpu.step_times import profile
from benchmarks.gpu.timing import measure_ceilings
from sala_compile.runtime.common.units import parse_bytes

MARGIN = 128


def ceilings_of(mine: Part) -> Ceilings:
    """Those that the environment has; measured here where it has none."""
    rows = Document(mine.options.results, "environment").rows
    found = next((row for row in rows if row["name"] == "ceilings"), None)
    if found is None or "error" in found:
        return measure_ceilings()
    return Ceilings(**{name: found[name] for name in ("operations", "bytes", "exponentials")})


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--artifact", required=True, help="int4 or bf16")
    parser.add_argument("--marks", type=int, nargs="+", default=list(MARKS))
    parser.add_argument("--chunk", type=int, default=8192)
    parser.add_argument("--memory", help="Device memory to use at most")
    parser.add_argument("--steps", type=int, default=48)


def _measure(mine: Part) -> None:
    options = mine.options
    ceilings = ceilings_of(mine)
    torch.cuda.empty_cache()
    before = torch.cuda.mem_get_info()[0]
    begin = time.perf_counter()
    with sala_compile.load(
        options.prepared / f"released-{options.artifact}.sala",
        context=options.marks[-1] + options.chunk + MARGIN,
        chunk=options.chunk,
        sequences=2,
        memory=None if options.memory is None else parse_bytes(options.memory),
        device=options.device,
    ) as model:
        mine.document.note(
            artifact=options.artifact,
            chunk=options.chunk,
            load_seconds=time.perf_counter() - begin,
            memory=model.info()["memory"],
            device_used_bytes=before - torch.cuda.mem_get_info()[0],
        )
        ids = np.random.default_rng(1).integers(3, model.vocabulary, options.chunk, np.int32)

        def profiled(text: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            for phase, tokens, repeats in (("prefill", ids, 3), ("decode", ids[:1], 9)):
                known = read(options.prepared, options.artifact, phase, len(text))
                found += profile(model, text, tokens, ceilings, known, repeats=repeats)
            return found

        measure_marks(
            model,
            mine.document,
            mine.budget,
            marks=options.marks,
            steps=options.steps,
            profile=profiled,
        )


def main() -> None:
    """Measure and write the rows."""
    with part(__doc__, _arguments) as mine:
        _measure(mine)


if __name__ == "__main__":
    main()
