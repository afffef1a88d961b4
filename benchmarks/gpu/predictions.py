"""What the time model of `launch_bounds.py` says of every kernel of the prepared artifacts.

It needs the compiler, so `prepare.py` writes it down; reports show it beside what was measured.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.gpu.sizes import Sizes

FILE = "predictions.json"
CHUNK = 8192
Seconds = dict[str, float]
"""Of one call of a kernel, by its symbol."""
Predictions = dict[str, dict[str, Seconds]]
"""By phase and context."""


def predict(
    architecture: int, quantization: str, contexts: Iterable[int], cache: Path
) -> Predictions | None:
    """Of a decoded token and of the chunk behind a context; None for GPUs that have no model."""
    from benchmarks.gpu.cards import CARDS
    from benchmarks.gpu.launch_bounds import predicted
    from benchmarks.gpu.released import calls_of, lowered
    from benchmarks.gpu.work import Case
    from sala_compile.codegen.targets.cuda import CudaTarget
    from sala_compile.passes.assign_precision import Precision
    from sala_compile.passes.support.quantization import Quantization

    card = next((card for card in CARDS.values() if card.architecture == architecture), None)
    if card is None:
        return None
    sizes, found = Sizes.released(), Predictions()
    model = lowered(CudaTarget(architecture), Quantization(quantization), Precision.BFLOAT16)
    for phase, tokens in (("decode", 1), ("prefill", CHUNK)):
        calls = calls_of(model, phase)
        times = {call.kernel.symbol: call.times for call in calls}
        found[phase] = {}
        for context in contexts:
            case = Case(tokens, context + tokens // 2, sizes.block, sizes.budget)
            seconds: Seconds = defaultdict(float)
            for row in predicted(calls, case, card, cache):
                seconds[row.kernel] += row.times * row.seconds / times[row.kernel]
            found[phase][str(context)] = dict(seconds)
    return found


def read(prepared: Path, artifact: str, phase: str, context: int) -> Mapping[str, float]:
    """Seconds of a call by symbol; nothing where nothing was predicted."""
    path = prepared / FILE
    if not path.exists():
        return {}
    return json.loads(path.read_text()).get(artifact, {}).get(phase, {}).get(str(context), {})
