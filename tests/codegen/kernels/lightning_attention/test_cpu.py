"""Lightning attention against the float64 reference."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.lightning_attention.cpu.kernel import (
    CHUNK,
    Spec,
    build,
    default_schedule,
)
from sala_compile.codegen.targets.cpu import CpuTarget
from tests.support.lightning import LightningInputs, spec_of
from tests.support.steps import EXTRA, Library, Step, padded, poisoned, step

HOST = CpuTarget.host()
PORTABLE = CpuTarget("x86-64-v3")
SPECS = (
    spec_of(Spec, 3, 3, 10, norm=True, rope=True),
    spec_of(Spec, 4, 2, 16, norm=True, rope=False),
    spec_of(Spec, 2, 1, 30, norm=False, rope=True),
    spec_of(Spec, 5, 5, 8, norm=False, rope=False),
    spec_of(Spec, 2, 2, 64, norm=True, rope=True),
    spec_of(Spec, 1, 1, 128, norm=True, rope=True),
    spec_of(Spec, 2, 2, 82, norm=True, rope=True),
)
PORTABLE_SPECS = (SPECS[0], SPECS[4])


@cache
def library(target: CpuTarget) -> Library:
    """The kernels of all specs for a target."""
    specs = SPECS if target == HOST else PORTABLE_SPECS
    return Library([build(spec, target) for spec in specs], target)


class Inputs(LightningInputs):
    """Inputs that the kernel runs on."""

    def run(self, batch: Step, target: CpuTarget) -> np.ndarray:
        """The kernel's output; the state changes in place."""
        spec = self.spec
        used = spec.num_heads * spec.head_dim
        out = poisoned(batch.tokens + EXTRA, padded(used))
        chunk = poisoned(batch.workers, default_schedule(spec, target).workspace(spec.head_dim))
        fields = [batch.field(name) for name in ("control", "offsets", "history", "slots")]
        norms = self.norms if spec.norm else []
        rope = [self.rope] if spec.rope else []
        inputs = [self.merged] * 3 + [self.state, *norms, *rope]
        library(target).call(spec.symbol, *fields, *inputs, out, chunk)
        assert np.isnan(out[batch.tokens :]).all()
        assert (out[: batch.tokens, used:] == 0).all()
        return out[: batch.tokens, :used]


def close(actual: np.ndarray, expected: np.ndarray) -> bool:
    """Equal to a few float32 roundings of the largest value."""
    return bool(np.abs(actual - expected).max() <= 3e-6 * np.abs(expected).max())


BATCHES = (
    ((1, CHUNK + 6, CHUNK, 2), (0, 0, 5, 9)),
    ((1, CHUNK - 1, CHUNK + 1, 2 * CHUNK), (3, 0, 5, 9)),
)


@pytest.mark.parametrize(
    ("spec", "target"),
    [(spec, HOST) for spec in SPECS] + [(spec, PORTABLE) for spec in PORTABLE_SPECS],
    ids=lambda x: x.symbol if isinstance(x, Spec) else x.name,
)
@pytest.mark.parametrize(("counts", "history"), BATCHES, ids=("short", "long"))
def test_equals_reference(
    spec: Spec, target: CpuTarget, counts: tuple[int, ...], history: tuple[int, ...]
) -> None:
    batch = step(counts, history)
    inputs = Inputs(spec, batch.tokens, len(counts) + 2)
    for slot, past in zip(batch.slots, history, strict=True):
        if past == 0:
            inputs.state[slot] = np.nan
    before = inputs.state.copy()
    out, states = inputs.expected(batch)
    assert close(inputs.run(batch, target), out)
    for slot in range(len(counts) + 2):
        if slot in batch.slots:
            assert close(inputs.state[slot], states[slot])
        else:
            assert np.array_equal(inputs.state[slot], before[slot], equal_nan=True)


@pytest.mark.parametrize("spec", SPECS[:2], ids=lambda spec: spec.symbol)
def test_a_sequence_is_bit_equal_alone_and_in_a_batch(spec: Spec) -> None:
    batch = step((1, 70, 3, 64), (7, 2, 0, 5))
    inputs = Inputs(spec, batch.tokens, 6)
    before = inputs.state.copy()
    together = inputs.run(batch, HOST)
    state = inputs.state.copy()
    for index, slot in enumerate(batch.slots):
        rows = slice(batch.offsets[index], batch.offsets[index + 1])
        alone = replace(
            batch,
            counts=batch.counts[index : index + 1],
            history=batch.history[index : index + 1],
            slots=(slot,),
            call_lengths=batch.call_lengths[index : index + 1],
            workers=1,
        )
        inputs.state[...] = before
        assert np.array_equal(inputs.rows(rows).run(alone, HOST), together[rows])
        assert np.array_equal(inputs.state[slot], state[slot])


@pytest.mark.parametrize("pieces", [(1,) * 9, (8, 1), (3, 6), (1, 8)], ids=str)
def test_continues_from_any_split(pieces: tuple[int, ...]) -> None:
    spec = SPECS[2]
    whole = step((CHUNK + 9,))
    inputs = Inputs(spec, whole.tokens, 3)
    out, states = inputs.expected(whole)
    first = replace(whole, counts=(CHUNK,), call_lengths=(CHUNK,))
    parts = [inputs.rows(slice(0, CHUNK)).run(first, HOST)]
    done = CHUNK
    for count in pieces:
        now = replace(whole, counts=(count,), history=(done,))
        parts.append(inputs.rows(slice(done, done + count)).run(now, HOST))
        done += count
    assert close(np.concatenate(parts), out)
    assert close(inputs.state[whole.slots[0]], states[whole.slots[0]])
