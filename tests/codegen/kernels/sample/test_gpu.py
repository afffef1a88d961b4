"""The choice of tokens on a GPU, interpreted, against the runtime's own sampler."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from sala_compile.codegen.kernels.sample.gpu.kernel import FAMILY, WORDS, Schedule, Spec
from sala_compile.codegen.program.sampling_steps import sampling_choice
from sala_compile.codegen.targets.cuda import CudaTarget
from sala_compile.runtime.generation.sampling import Draw, Sampler, SamplingOptions
from tests.support.gpu_rows import control_of
from tests.support.interpreted import run
from tests.support.steps import EXTRA, aligned, padded, poisoned

VOCABULARY = 100
KERNEL = FAMILY.build(
    Spec(VOCABULARY), CudaTarget(90), Schedule(group=4, block=32, turn=32, warps=4)
)


def chosen(logits: np.ndarray, draws: list[Draw], **options: bool) -> np.ndarray:
    """What the kernel makes of every row: token, and whether it has what is not a number."""
    rows = len(logits)
    buffers = {
        "control": control_of(logit_rows=rows),
        "sampling": aligned(np.full((rows + EXTRA, WORDS), -1, np.int32)),
        "logits": poisoned(rows + EXTRA, padded(VOCABULARY)),
        "sampled": poisoned(rows + EXTRA, 2, dtype=np.int32),
        "groups": poisoned(rows + EXTRA, KERNEL.parameter("groups").shape[1]),
        "listed": poisoned(rows + EXTRA, KERNEL.parameter("listed").shape[1], dtype=np.int32),
    }
    buffers["logits"][:rows, :VOCABULARY] = logits
    for row, draw in enumerate(draws):
        buffers["sampling"][row] = draw.words(WORDS)
    run(KERNEL, buffers, {"logit_rows": rows + EXTRA}, **options)
    assert (buffers["sampled"][rows:] == -1).all()
    return buffers["sampled"][:rows]


def expected(logits: np.ndarray, draw: Draw) -> int:
    """The token that the runtime chooses at the same random number."""
    options = SamplingOptions(draw.temperature, draw.top_p, draw.top_k, min_p=draw.min_p)
    random: Any = SimpleNamespace(random=lambda: draw.uniform)
    return Sampler(options, VOCABULARY, random).choose(logits)


def float32(*numbers: float) -> list[float]:
    """Numbers that float32 holds, as the kernel is given them."""
    return [float(np.float32(number)) for number in numbers]


def test_draws_are_those_of_the_runtime() -> None:
    random = np.random.default_rng(0)
    draws, rows = [], []
    kept = ((0, 1.0), (20, 1.0), (0, 0.6), (20, 0.6), (1, 0.6), (VOCABULARY, 0.05))
    for (top_k, top_p), edge in zip(kept, (0.0, 1 - 2**-24) * 3, strict=True):
        for uniform, ties in ((edge, True), (random.random(), False)):
            draws.append(Draw(*float32(0.5 + random.random(), top_p), top_k, *float32(uniform)))
            row = 2 * random.standard_normal(VOCABULARY).astype(np.float32)
            rows.append(np.round(row) if ties else row)
    logits = np.stack(rows)
    found = chosen(logits, draws)
    assert found[:, 0].tolist() == [expected(*pair) for pair in zip(logits, draws, strict=True)]
    assert not found[:, 1].any()


def test_the_most_likely_of_equal_logits_is_the_lowest() -> None:
    logits = np.zeros((4, VOCABULARY), np.float32)
    logits[1, [77, 90]] = 3
    logits[2] = -np.arange(VOCABULARY) - 5
    logits[3, :] = -np.inf
    logits[3, 99] = -1e30
    draw = Draw(0.0, 1.0, 0, 0.0)
    assert chosen(logits, [draw] * 4, backwards=True)[:, 0].tolist() == [0, 77, 0, 99]
    sharp = Draw(1e-30, 1.0, 0, 0.5)
    assert chosen(logits[1:], [sharp, sharp, sharp])[1:, 0].tolist() == [0, 99]


def test_logits_that_are_no_numbers_are_reported() -> None:
    logits = np.zeros((3, VOCABULARY), np.float32)
    logits[0, 99] = np.nan
    logits[1, 0] = np.nan
    found = chosen(logits, [Draw(0.0, 1.0, 0, 0.0), Draw(1.0, 0.5, 3, 0.5), Draw(1.0, 1.0, 0, 0.0)])
    assert found.tolist() == [[0, 1], [0, 1], [0, 0]]


def test_infinite_logits_take_all_probability_and_masks_none() -> None:
    logits = np.zeros((6, VOCABULARY), np.float32)
    logits[:4, 77] = np.inf
    logits[3, 90] = np.inf
    logits[4:] = -np.inf
    logits[4, [5, 6]] = 1
    draws = [
        Draw(0.0, 1.0, 0, 0.0),
        Draw(1.0, 1.0, 0, *float32(0.999)),
        Draw(1.0, *float32(0.9), 3, *float32(0.999)),
        Draw(1.0, *float32(0.9), 0, *float32(0.999)),
        Draw(1.0, 1.0, 50, *float32(1 - 2**-24)),
    ]
    found = chosen(logits, [*draws, Draw(1.0, 1.0, 0, 0.5)])
    assert found.tolist() == [[77, 0], [77, 0], [77, 0], [77, 0], [6, 0], [0, 2]]
    assert found[:5, 0].tolist() == [expected(*pair) for pair in zip(logits, draws, strict=False)]
    every = chosen(logits[4:], [Draw(0.0, 1.0, 0, 0.0)] * 2)
    assert every.tolist() == [[5, 0], [0, 2]]


def test_min_p_drops_what_weighs_too_little_beside_the_best() -> None:
    random = np.random.default_rng(3)
    draws, rows = [], []
    for top_k, top_p, min_p in (
        *((0, 1.0, 0.05), (0, 1.0, 0.5), (0, 1.0, 1.0), (20, 1.0, 0.2), (0, 0.6, 0.1)),
        *((20, 0.6, 0.01), (1, 1.0, 0.9), (3, 0.999, 1e-30)),
    ):
        for uniform, ties in ((0.0, True), (1 - 2**-24, True), (random.random(), False)):
            heat, share, edge, floor = float32(0.5 + random.random(), top_p, uniform, min_p)
            draws.append(Draw(heat, share, top_k, edge, floor))
            row = 2 * random.standard_normal(VOCABULARY).astype(np.float32)
            rows.append(np.round(row) if ties else row)
    logits = np.stack(rows)
    found = chosen(logits, draws)
    assert found[:, 0].tolist() == [expected(*pair) for pair in zip(logits, draws, strict=True)]
    assert not found[:, 1].any()


def test_the_host_chooses_from_vocabularies_that_the_kernel_cannot_count() -> None:
    assert sampling_choice(CudaTarget(90), 1 << 21) is not None
    assert sampling_choice(CudaTarget(90), (1 << 21) + 1) is None


def float32_of(random: np.random.Generator, *choices: float) -> float:
    """One of some numbers, or a random one, that float32 holds."""
    return float32(random.choice([*choices, random.random()]))[0]


def rows_of_all_kinds(random: np.random.Generator) -> list[np.ndarray]:
    """Wide, narrow, tied, masked, shifted and signed zeros; groups of them are read in turns."""
    normal = random.standard_normal((12, VOCABULARY))
    normal[0] *= 0.01  # all are candidates, far more than are read at a time
    normal[1] = np.round(normal[1])
    normal[2, random.random(VOCABULARY) < 0.9] = -np.inf
    normal[3] = random.choice([0.0, -0.0, 0.25, -0.25], VOCABULARY)
    normal[4] += 1e4
    normal[5] *= 1e30
    normal[6] = -3.0
    normal[7, 3:] = -1e30
    normal[8] *= 30
    return list(normal.astype(np.float32))


def test_rows_of_all_kinds_are_those_of_the_runtime() -> None:
    random = np.random.default_rng(5)
    rows = rows_of_all_kinds(random) + rows_of_all_kinds(random)
    draws = [
        Draw(
            float32(random.choice([0.2, 0.7, 1.0, 2.5]))[0],
            float32_of(random, 1.0, 0.05, 0.9, 0.999),
            int(random.choice([0, 0, 1, 20, VOCABULARY - 1, VOCABULARY, 500])),
            float32_of(random, 0.0, 1 - 2**-24),
            float32(random.choice([0.0, 0.0, 0.05, 1.0]))[0],
        )
        for _ in rows
    ]
    logits = np.stack(rows)
    found = chosen(logits, draws)
    assert found[:, 0].tolist() == [expected(*pair) for pair in zip(logits, draws, strict=True)]
    assert not found[:, 1].any()


def test_a_row_of_which_all_is_kept_is_cut_where_share_and_ties_say() -> None:
    """Far more candidates than are held: equal ones, and a slope whose weights are powers."""
    slope = (np.arange(VOCABULARY) % 50 * -0.01).astype(np.float32)
    logits = np.stack([np.zeros(VOCABULARY, np.float32), slope, slope[::-1]] * 2)
    share, most = float32(0.55)[0], 73
    last = 1 - 2**-24
    draws = [Draw(1.0, share, 0, last)] * 3 + [Draw(1.0, 1.0, most, last)] * 3
    found = chosen(logits, draws)[:, 0].tolist()
    assert found == [expected(*pair) for pair in zip(logits, draws, strict=True)]
    assert (found[0], found[3]) == (55, most - 1)
