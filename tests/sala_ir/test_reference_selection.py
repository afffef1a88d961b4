"""Selection and attention of the reference against section 6.8, written in loops."""

import numpy as np
import pytest

from sala_compile.sala_ir import reference
from sala_compile.sala_ir.attention_sizes import BlockSelection, Heads
from sala_compile.sala_ir.reference.cache import complete_windows
from sala_compile.sala_ir.reference.selection import choose_blocks, pool_scores

SELECTION = BlockSelection(
    kernel_size=8,
    kernel_stride=4,
    block_size=16,
    init_blocks=1,
    window_blocks=2,
    topk=3,
    dense_len=40,
)
WIDE_BLOCKS = BlockSelection(
    kernel_size=4,
    kernel_stride=2,
    block_size=12,
    init_blocks=2,
    window_blocks=1,
    topk=4,
    dense_len=0,
)
NARROW_BLOCKS = BlockSelection(
    kernel_size=8,
    kernel_stride=4,
    block_size=4,
    init_blocks=1,
    window_blocks=3,
    topk=5,
    dense_len=0,
)


def _allowed_blocks(queries, keys, t, length, group, selection):
    """Return the blocks of query `t`, head by head and window by window."""
    size, stride = selection.kernel_size, selection.kernel_stride
    scale = queries.shape[-1] ** -0.5
    windows = complete_windows(t + 1, size, stride)
    coarse_windows = complete_windows(t + 1, 4 * size, 4 * stride)
    scores = np.zeros(windows)
    if coarse_windows:
        for query in queries[t, group]:
            total = sum(
                np.exp(scale * query @ keys[4 * j * stride :][: 4 * size, group].mean(axis=0))
                for j in range(coarse_windows)
            )
            for j in range(windows):
                mean = keys[j * stride :][:size, group].mean(axis=0)
                scores[j] += np.exp(scale * query @ mean) / total
    ratio = selection.block_size // stride
    own = t // selection.block_size
    ranked = []
    for b in range(own + 1):
        forced = b < selection.init_blocks or b >= own - selection.window_blocks
        pooled = scores[max(0, b * ratio - 1) : b * ratio + ratio]
        ranked.append((-np.inf if forced else -pooled.max(), b))
    return sorted(b for _, b in sorted(ranked)[: selection.budget])


def _naive(q, k, v, selection, kv_heads):
    """Return output, blocks and counts of one sequence in one call."""
    tokens, heads, size = q.shape
    grouped = q.reshape(tokens, kv_heads, heads // kv_heads, size)
    out = np.zeros_like(grouped)
    chosen = {}
    for t in range(tokens):
        for group in range(kv_heads):
            blocks = list(range(t // selection.block_size + 1))
            if tokens >= selection.dense_len:
                blocks = _allowed_blocks(grouped, k, t, tokens, group, selection)
            chosen[t, group] = blocks
            read = [s for s in range(t + 1) if s // selection.block_size in blocks]
            for head in range(heads // kv_heads):
                score = k[read, group] @ grouped[t, group, head] * size**-0.5
                weight = np.exp(score - score.max())
                out[t, group, head] = weight @ v[read, group] / weight.sum()
    return out.reshape(tokens, heads * size), chosen


def _random(rng, tokens, heads, size):
    return rng.standard_normal((tokens, heads, size)) * 1.5


def _flat(x):
    return x.reshape(len(x), -1)


def _attend(q, k, v, batch, kv, compressed, *, heads, kv_heads, selection):
    size = q.shape[1] // heads
    return reference.block_sparse_attention(
        q,
        k,
        v,
        kv,
        compressed,
        batch,
        heads=Heads(heads, kv_heads, size, size**-0.5),
        selection=selection,
    )


@pytest.mark.parametrize("selection", [SELECTION, WIDE_BLOCKS, NARROW_BLOCKS])
@pytest.mark.parametrize("tokens", [1, 31, 39, 40, 133])
def test_sparse_attention_is_the_procedure(selection, tokens):
    rng = np.random.default_rng(tokens)
    q, k, v = _random(rng, tokens, 6, 10), _random(rng, tokens, 2, 10), _random(rng, tokens, 2, 10)
    expected, chosen = _naive(q, k, v, selection, 2)
    batch = reference.make_batch([0, tokens], [0], [tokens], [5])
    result = _attend(
        _flat(q), _flat(k), _flat(v), batch, {}, {}, heads=6, kv_heads=2, selection=selection
    )
    np.testing.assert_allclose(result.out, expected, atol=1e-12)
    for (t, group), blocks in chosen.items():
        assert result.blocks_read[t, group] == len(blocks)
        if tokens < selection.dense_len:
            assert result.counts[t, group] == -1
            continue
        count = result.counts[t, group]
        assert list(result.blocks[t, group, :count]) == blocks
        assert (result.blocks[t, group, count:] == -1).all()


@pytest.mark.parametrize("cuts", [[1] * 70, [7] * 10, [64, 6], [16, 31, 23], [0, 70]])
def test_pieces_of_a_call_equal_the_whole(cuts):
    rng = np.random.default_rng(3)
    q, k, v = (_flat(_random(rng, 70, heads, 8)) for heads in (4, 2, 2))
    options = {"heads": 4, "kv_heads": 2, "selection": SELECTION}
    whole = _attend(q, k, v, reference.make_batch([0, 70], [0], [70], [0]), {}, {}, **options)
    kv, compressed, done, outs = {}, {}, 0, []
    for cut in cuts:
        rows = slice(done, done + cut)
        batch = reference.make_batch([0, cut], [done], [70], [0])
        piece = _attend(q[rows], k[rows], v[rows], batch, kv, compressed, **options)
        kv, compressed, done = piece.kv, piece.compressed, done + cut
        outs.append(piece.out)
    np.testing.assert_allclose(np.concatenate(outs), whole.out, atol=1e-12)
    for level in (0, 1):
        np.testing.assert_allclose(compressed[0][level], whole.compressed[0][level], atol=1e-13)


@pytest.mark.parametrize("cuts", [[1] * 133, [7] * 19, [64, 69], [0, 133]])
def test_blocks_may_be_chosen_by_other_queries_and_keys(cuts):
    """In pieces: the choice is that of the others, the output that of these over it."""
    rng = np.random.default_rng(8)
    (q, k, v), (other_q, other_k, _) = (
        [_random(rng, 133, heads, 8) for heads in (4, 2, 2)] for _ in range(2)
    )
    q, k, v, other_q, other_k = map(_flat, (q, k, v, other_q, other_k))
    heads = Heads(4, 2, 8, 8**-0.5)
    kv, compressed, recent, done, outs, blocks = {}, {}, {}, 0, [], []
    for cut in cuts:
        rows = slice(done, done + cut)
        piece = reference.block_sparse_attention(
            *(x[rows] for x in (q, k, v)),
            kv,
            compressed,
            reference.make_batch([0, cut], [done], [133], [0]),
            *(x[rows] for x in (other_q, other_k)),
            recent,
            heads=heads,
            selection=SELECTION,
        )
        kv, compressed, recent, done = piece.kv, piece.compressed, piece.recent, done + cut
        outs.append(piece.out)
        blocks.append(piece.blocks)
    options = {"heads": 4, "kv_heads": 2, "selection": SELECTION}
    batch = reference.make_batch([0, 133], [0], [133], [0])
    chooser = _attend(other_q, other_k, v, batch, {}, {}, **options)
    np.testing.assert_array_equal(np.concatenate(blocks), chooser.blocks)
    own = _attend(q, k, v, batch, {}, {}, **options)
    assert not np.array_equal(chooser.blocks, own.blocks)
    cache = reference.append_kv(k, v, {}, batch, kv_heads=2)
    expected, _ = reference.attend_blocks(
        q,
        cache,
        batch,
        chooser.blocks,
        chooser.counts,
        heads=heads,
        block_size=SELECTION.block_size,
    )
    np.testing.assert_allclose(np.concatenate(outs), expected, atol=1e-12)
    newest = recent[0].transpose(1, 0, 2)
    for token in range(133 - len(newest), 133):
        row = newest[token % len(newest)].reshape(-1)
        np.testing.assert_array_equal(row, other_k[token])


def test_sequences_of_a_batch_do_not_see_each_other():
    rng = np.random.default_rng(4)
    lengths = [3, 50, 0, 39, 1]
    offsets = np.cumsum([0, *lengths])
    q, k, v = (_flat(_random(rng, offsets[-1], heads, 8)) for heads in (4, 1, 1))
    options = {"heads": 4, "kv_heads": 1, "selection": SELECTION}
    slots = [4, 0, 2, 9, 1]
    batch = reference.make_batch(offsets, [0] * 5, lengths, slots)
    together = _attend(q, k, v, batch, {}, {}, **options)
    for index, length in enumerate(lengths):
        rows = slice(offsets[index], offsets[index + 1])
        alone = reference.make_batch([0, length], [0], [length], [slots[index]])
        single = _attend(q[rows], k[rows], v[rows], alone, {}, {}, **options)
        np.testing.assert_array_equal(together.out[rows], single.out)
        np.testing.assert_array_equal(together.counts[rows], single.counts)


def test_call_length_decides_the_regime():
    rng = np.random.default_rng(5)
    q, k, v = (_flat(_random(rng, 30, heads, 8)) for heads in (4, 2, 2))
    options = {"heads": 4, "kv_heads": 2, "selection": SELECTION}
    for call_length, sparse in ((39, False), (40, True)):
        batch = reference.make_batch([0, 30], [0], [call_length], [0])
        result = _attend(q, k, v, batch, {}, {}, **options)
        assert (result.counts >= 0).all() == sparse


def test_states_given_stay_as_they_are():
    rng = np.random.default_rng(6)
    k, v = (_flat(_random(rng, 20, 2, 8)) for _ in range(2))
    batch = reference.make_batch([0, 20], [0], [20], [0])
    first = reference.append_kv(k, v, {}, batch, kv_heads=2)
    kept = first[0][0].copy()
    reference.append_kv(k, v, first, reference.make_batch([0, 20], [20], [40], [0]), kv_heads=2)
    np.testing.assert_array_equal(first[0][0], kept)


def test_pooling_overlaps_by_one_window():
    scores = np.asarray([[[1.0, 2, 3, 9, 4, 5, 6]]])
    np.testing.assert_array_equal(pool_scores(scores, 2, 4), [[[9, 9]]])
    np.testing.assert_array_equal(pool_scores(scores, 3, 2), [[[2, 9, 9]]])
    np.testing.assert_array_equal(pool_scores(scores[:, :, :0], 2, 4), [[[0, 0]]])


def test_the_older_block_wins_a_tie():
    scores = np.zeros((1, 1, 20))
    scores[0, 0, [5, 6, 7, 8, 9, 10]] = 1.0
    blocks, counts = choose_blocks(scores, np.asarray([319]), selection=SELECTION)
    assert counts[0, 0] == 5
    assert list(blocks[0, 0]) == [0, 5, 17, 18, 19]
