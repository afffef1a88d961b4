"""Rounded pages: integers and scales, what queries read, and that cuts of a text change nothing."""

import ml_dtypes
import numpy as np
import pytest

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.round_pages import PageStorage, RoundPages
from sala_compile.runtime.errors import CompileError
from sala_compile.sala_ir.attention_sizes import Heads, PageRounding
from sala_compile.sala_ir.checkpoint.checkpoint import Checkpoint
from sala_compile.sala_ir.context import make_context, parse_module, print_module
from sala_compile.sala_ir.frontends import frontend_for
from sala_compile.sala_ir.interpreter import NewTokens, ReferenceModel
from sala_compile.sala_ir.reference import RoundedPages, Rounding, make_batch, softmax_attention
from sala_compile.sala_ir.reference.rounded_pages import pack_words, unpack_words
from sala_compile.sala_ir.reference.rounding import to_bfloat16
from tests.passes.fakes import accept_all
from tests.support.checkpoints import VARIATIONS, write_checkpoint

HEADS, TOKENS, COLUMNS = 2, 16, 32
ROUNDED = [PageStorage.INT8, PageStorage.INT4, PageStorage.K8V4]


def pages(storage: PageStorage, element=to_bfloat16, recent: int = TOKENS) -> RoundedPages:
    assert storage.bits is not None
    return RoundedPages(HEADS, TOKENS, PageRounding(*storage.bits, recent), element)


def text(length: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Keys with a bias and a spread for every column, values with a size for every token."""
    random = np.random.default_rng(seed)
    shape = (length, HEADS * COLUMNS)
    keys = random.normal(size=shape) * random.uniform(0.1, 3, shape[1]) + random.normal(
        size=shape[1]
    )
    values = random.normal(size=shape) * random.uniform(0.1, 3, (length, 1))
    return keys, values


def batch(history: int, count: int):
    return make_batch([0, count], [history], [history + count], [0])


def single(value) -> np.ndarray:
    return np.asarray(value, np.float32)


def bf16(value) -> np.ndarray:
    return single(value).astype(ml_dtypes.bfloat16).astype(np.float32)


def integers_of(numbers: np.ndarray, bits: int) -> list[int]:
    """The rule for numbers that are rounded together, written out in float32, one by one."""
    levels, least = (1 << bits) - 1, np.float32(2.0**-100)
    factor, low = np.float32((1 + 2.0**-8) / levels), numbers.min()
    scale = bf16(max(np.float32(numbers.max() - low) * factor, least))
    return [int(np.rint(np.float32(number - low) / scale)) for number in numbers]


@pytest.mark.parametrize("storage", ROUNDED)
def test_integers_follow_the_rule(storage):
    keys, values = text(2 * TOKENS + 5)
    keys[:TOKENS, 3] = 0.75  # without extent
    values[4] = 0.0
    made = pages(storage).round_pages(keys, values, {}, batch(0, len(keys)))[0]
    found = [
        unpack_words(words, bits, 2)
        for words, bits in zip((made.k, made.v), storage.bits, strict=True)
    ]
    for page in range(2):
        for head in range(HEADS):
            rows = slice(page * TOKENS, (page + 1) * TOKENS)
            columns = slice(head * COLUMNS, (head + 1) * COLUMNS)
            together = bf16(keys[rows, columns]).T, bf16(values[rows, columns])
            for integers, numbers, bits in zip(found, together, storage.bits, strict=True):
                expected = [integers_of(each, bits) for each in numbers]
                np.testing.assert_array_equal(integers[page, head], expected)
    for integers, bits in zip(found, storage.bits, strict=True):
        assert (integers.min(), integers.max()) == (0, (1 << bits) - 1)


@pytest.mark.parametrize("storage", ROUNDED)
def test_what_is_read_is_near(storage):
    keys, values = text(3 * TOKENS)
    rule = pages(storage)
    made = rule.round_pages(keys, values, {}, batch(0, len(keys)))[0]
    k, v = rule.rounded(made)
    shape = (-1, HEADS, COLUMNS)
    half_k = np.repeat(made.k_scale, TOKENS, axis=0) / 2
    half_v = np.swapaxes(made.v_scale, 1, 2).reshape(-1, HEADS, 1) / 2
    assert (np.abs(k - bf16(keys).reshape(shape)) <= half_k * (1 + 1e-6)).all()
    assert (np.abs(v - bf16(values).reshape(shape)) <= half_v * (1 + 1e-6)).all()


@pytest.mark.parametrize("bits", [4, 8])
def test_words_hold_every_integer(bits):
    values = np.arange((1 << bits) - 1, -1, -1).reshape(1, -1, 1)
    words = pack_words(values, bits, 1)
    assert words.dtype == np.int32
    assert words.shape[1] * 32 == values.size * bits
    np.testing.assert_array_equal(unpack_words(words, bits, 1), values)
    first = int(words.reshape(-1)[0].astype(np.uint32))
    assert [first >> bits * i & (1 << bits) - 1 for i in range(3)] == values.reshape(-1)[
        :3
    ].tolist()


@pytest.mark.parametrize("cuts", [[50], [1] * 50, [16, 16, 16, 2], [7, 20, 1, 22], [33, 17]])
def test_queries_read_their_page_as_it_is(cuts):
    """Against a loop over queries and heads that rounds pages by the rule written out."""
    keys, values = text(50, seed=3)
    queries = np.random.default_rng(4).normal(size=(50, 2 * HEADS * COLUMNS))
    heads = Heads(2 * HEADS, HEADS, COLUMNS, 0.2)
    rule, cache, outs, begin = pages(PageStorage.INT4, recent=32), {}, [], 0
    for count in cuts:
        rows = slice(begin, begin + count)
        out, cache = softmax_attention(
            *(x[rows] for x in (queries, keys, values)),
            cache,
            batch(begin, count),
            heads=heads,
            block_size=TOKENS,
            pages=rule,
        )
        outs.append(out)
        begin += count
    near_k, near_v = rule.rounded(
        rule.round_pages(keys, values, {}, batch(0, len(keys)))[0]
    )  # checked above
    exact = [bf16(x).astype(float).reshape(-1, HEADS, COLUMNS) for x in (keys, values)]
    expected = np.zeros_like(queries).reshape(50, 2 * HEADS, COLUMNS)
    for t in range(50):
        full = t // TOKENS * TOKENS
        for head in range(2 * HEADS):
            k, v = (
                np.concatenate([near[:full, head // 2], own[full : t + 1, head // 2]])
                for near, own in ((near_k, exact[0]), (near_v, exact[1]))
            )
            p = np.exp(0.2 * k @ queries[t].reshape(2 * HEADS, COLUMNS)[head])
            expected[t, head] = p @ v / p.sum()
    np.testing.assert_allclose(np.concatenate(outs), expected.reshape(50, -1), atol=1e-12)
    last = cache[0].recent_k[:, np.arange(18, 50) % 32]
    np.testing.assert_array_equal(np.swapaxes(last, 0, 1), exact[0][18:])


def captured(path, storage: PageStorage):
    checkpoint = Checkpoint.open(path)
    frontend = frontend_for(checkpoint.config)
    module = frontend.build_module(frontend.parse_config(checkpoint.config))
    RoundPages(storage).apply(make_context(), module)
    module.verify()
    return module, checkpoint


NAMES = ["group-1-tied", "always-sparse-by-unrotated-keys", "head-dim-128-wide-blocks"]


@pytest.mark.parametrize(("name", "storage"), list(zip(NAMES, ROUNDED, strict=True)))
def test_cuts_change_nothing(tmp_path, name, storage):
    """Both paths, all stages together and opened, in one piece, in pieces and token by token."""
    module, checkpoint = captured(write_checkpoint(tmp_path, VARIATIONS[name]), storage)
    assert print_module(parse_module(print_module(module))) == print_module(module)
    ids = np.random.default_rng(1).integers(0, 131, 130).tolist()
    model = ReferenceModel(module, checkpoint)
    whole = model.prefill(ids)
    np.testing.assert_allclose(model.prefill(ids, chunk=23), whole, atol=1e-8)
    run_pipeline(module, sala_pipeline(Precision.FLOAT32, accept_all), stop_after="encode-weights")
    opened = ReferenceModel(module, checkpoint)
    np.testing.assert_allclose(opened.prefill(ids, chunk=37), whole, atol=1e-8)
    step = [
        NewTokens(0, ids[:90], 130),
        NewTokens(1, ids[:90], 130),
        NewTokens(2, ids[:40], 130),
    ]
    opened = ReferenceModel(module, checkpoint)
    opened.step(step)
    tails = [
        [opened.step([NewTokens(0, [token], 130)])[0] for token in ids[90:]],
        opened.step([NewTokens(1, ids[90:], 130), NewTokens(2, ids[40:], 130)])[:1],
    ]
    for tail in tails:
        np.testing.assert_allclose(np.concatenate(tail), whole[90:], atol=1e-8)


def test_rounding_costs_little_and_more_with_fewer_bits(tmp_path):
    path = write_checkpoint(tmp_path, VARIATIONS["group-1-tied"])
    ids = np.random.default_rng(1).integers(0, 131, 120).tolist()
    plain, *rounded = (
        ReferenceModel(*captured(path, storage), Rounding.ROUNDED).prefill(ids)
        for storage in (PageStorage.WIDE, PageStorage.INT8, PageStorage.K8V4, PageStorage.INT4)
    )
    errors = [np.sqrt(np.mean((each - plain) ** 2)) / plain.std() for each in rounded]
    assert 0 < errors[0] < errors[1] < errors[2] < 0.2
    for each in rounded:
        np.testing.assert_array_equal(each[:16], plain[:16])


def test_pages_that_words_do_not_fill_are_refused(tmp_path):
    path = write_checkpoint(tmp_path, VARIATIONS["heads-12-biases"])
    with pytest.raises(CompileError, match="10 columns in a head cannot be rounded"):
        captured(path, PageStorage.INT8)
