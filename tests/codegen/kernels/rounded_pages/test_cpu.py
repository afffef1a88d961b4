"""Pages of integers on the CPU: rounding them, keeping recent tokens, attending to both."""

from functools import cache

import numpy as np
import pytest

from sala_compile.codegen.kernels.attend_blocks.cpu.kernel import FAMILY as ATTEND
from sala_compile.codegen.kernels.attend_blocks.spec import Spec as AttendSpec
from sala_compile.codegen.kernels.keep_recent.cpu import FAMILY as KEEP
from sala_compile.codegen.kernels.keep_recent.spec import Spec as KeepSpec
from sala_compile.codegen.kernels.round_pages.cpu import FAMILY as ROUND
from sala_compile.codegen.kernels.round_pages.spec import Spec as RoundSpec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.sala_ir.reference import attend_blocks
from tests.support.pools import rounded
from tests.support.rounded_layer import RoundedCase, RoundedLayer
from tests.support.steps import EXTRA, Library, padded, poisoned, step

BF16, F32 = Element.BF16, Element.F32
HOST = CpuTarget.host()
CASES = (
    RoundedCase(8, 2, 32, 32, (4, 4), BF16, 64, budget=4, page_blocks=2, gate=True),
    RoundedCase(6, 2, 16, 16, (8, 4), F32, 16, budget=3),
    RoundedCase(3, 1, 64, 64, (8, 8), BF16, 64),
)
FAMILIES = {"round": ROUND, "keep": KEEP, "attend": ATTEND}


def specs(case: RoundedCase) -> dict:
    sizes = (case.kv_heads, case.page, case.size, case.element, *case.bits, case.recent)
    starts = case.starts
    attend = {
        "num_heads": case.heads,
        "kv_heads": case.kv_heads,
        "head_dim": case.size,
        "block_size": case.block,
        "scale": case.all_heads.scale,
        "element": case.element,
        "out_element": F32,
        "budget": case.budget,
        "q_start": starts["q"],
        "q_pitch": starts["pitch"],
        "gate": case.gate,
        "gate_start": starts["gate"],
        "gate_pitch": starts["pitch"],
        "page_blocks": case.page_blocks,
        "key_bits": case.bits[0],
        "value_bits": case.bits[1],
        "recent": case.recent,
    }
    return {
        "round": RoundSpec(*sizes, **case.views),
        "keep": KeepSpec(case.kv_heads, case.size, case.recent, case.element, **case.views),
        "attend": AttendSpec(**attend, **case.views),
    }


@cache
def library() -> Library:
    """All kernels of all cases."""
    built = [
        FAMILIES[name].build(spec, HOST) for case in CASES for name, spec in specs(case).items()
    ]
    return Library(built, HOST)


def run(layer: RoundedLayer, name: str, **more: np.ndarray) -> None:
    """Call a kernel with what its declaration says."""
    spec, family = specs(layer.case)[name], FAMILIES[name]
    known = {n: layer.new for n in ("q", "k", "v", "gate")} | layer.pools | more
    arguments = family.parameters(spec, HOST)
    known |= layer.batch.fields(arguments)
    for each in arguments:
        if each.workspace is not None:
            dims = [dim for dim in each.shape if isinstance(dim, int)]
            known[each.name] = poisoned(layer.batch.workers, *dims, dtype=np.dtype(each.dtype))
    library().call(spec.symbol, *(known[each.name] for each in arguments))


def texts(case: RoundedCase, **options) -> RoundedLayer:
    """New sequences, and ones in the middle of a page, at its end, and several pages long."""
    page = case.page
    counts = (page - 1, 2 * page + 3, 1, page, 5, 1)
    history = (0, 0, page - 1, 3 * page, 4 * page - 3, 7 * page + 5)
    return RoundedLayer.random(
        case, step(counts, history, block_size=page, context=16 * page, **options)
    )


def lists(layer: RoundedLayer) -> dict[str, np.ndarray]:
    """Blocks for every token and kv head, the own one among them; two sequences are dense."""
    case, random = layer.case, np.random.default_rng(5)
    rows = layer.batch.tokens + EXTRA
    blocks = poisoned(rows, case.kv_heads, case.budget, dtype=np.int32)
    counts = poisoned(rows, case.kv_heads, dtype=np.int32)
    for index, part in enumerate(layer.batch.reference):
        for row, position in zip(range(part.start, part.stop), part.positions, strict=True):
            for head in range(case.kv_heads):
                own = int(position) // case.block
                many = min(own, case.budget - 1)
                chosen = np.sort(random.permutation(own)[:many]) if own else np.zeros(0, int)
                counts[row, head] = -1 if index < 2 else many + 1
                blocks[row, head, : many + 1] = [*chosen, own]
    return {"blocks": blocks, "counts": counts}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pages_and_recent_tokens_are_the_references(case: RoundedCase) -> None:
    layer = texts(case)
    new = [layer.live(name) for name in ("k", "v")]
    expected = case.rule.round_pages(*new, layer.cache, layer.batch.reference)
    kept = case.rule.keep_recent(*new, expected, layer.batch.reference)
    untouched = {n: pool.copy() for n, pool in layer.pools.items()}
    run(layer, "round")
    for name in ("recent_k", "recent_v"):
        assert np.array_equal(layer.pools[name].view("u1"), untouched[name].view("u1"))
    run(layer, "keep")
    written = 0
    for part in layer.batch.reference:
        found = layer.read(part.slot, part.length)
        for name, wanted in kept[part.slot]._asdict().items():
            np.testing.assert_array_equal(getattr(found, name), wanted, err_msg=name)
        written += part.length // case.page
    used = (layer.pools["k_words"] != -1).any(axis=(1, 2, 3)).sum()
    assert used == written


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("workers", [1, 3])
def test_attention_is_the_references(case: RoundedCase, workers: int) -> None:
    layer = texts(case, workers=workers)
    found = attended(layer)
    new = [layer.live(name) for name in ("k", "v")]
    before = case.rule.round_pages(*new, layer.cache, layer.batch.reference)
    chosen = lists(layer) if case.budget else {}
    count = layer.batch.tokens
    out, read = attend_blocks(
        rounded(layer.live("q"), case.element),
        before,
        layer.batch.reference,
        *(chosen[name][:count] for name in ("blocks", "counts") if case.budget),
        gate=layer.live("gate") if case.gate else None,
        k=new[0],
        v=new[1],
        heads=case.all_heads,
        block_size=case.block,
        pages=case.rule,
    )
    tolerance = 2e-2 if case.element is BF16 else 2e-5
    np.testing.assert_allclose(found["out"][:count, : out.shape[1]], out, atol=tolerance)
    np.testing.assert_array_equal(found["blocks_read"][:count], read)


def attended(layer: RoundedLayer) -> dict[str, np.ndarray]:
    """Round the pages of a step, then attend."""
    case = layer.case
    rows = layer.batch.tokens + EXTRA
    outs = {
        "out": poisoned(rows, padded(case.heads * case.size)),
        "blocks_read": poisoned(rows, case.kv_heads, dtype=np.int32),
    }
    run(layer, "round")
    run(layer, "attend", **outs, **(lists(layer) if case.budget else {}))
    return outs


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cuts_of_a_text_change_no_bit(case: RoundedCase) -> None:
    """One step, single tokens, and odd pieces; outputs, pages and recent tokens."""
    page = case.page
    batch = step((2 * page + 5,), (page + 3,), block_size=page, context=16 * page)
    whole = RoundedLayer.random(case, batch)
    expected = attended(whole)
    run(whole, "keep")
    for cuts in ([1] * (2 * page + 5), [page - 3, page, 8]):
        layer, done = RoundedLayer.random(case, batch), 0
        for count in cuts:
            piece = layer.first((count,))
            found = attended(piece)
            run(piece, "keep")
            rows = slice(done, done + count)
            if not case.budget:
                for name, array in found.items():
                    assert np.array_equal(array[:count], expected[name][rows]), (name, done)
            layer, done = layer.after((count,)), done + count
        for name, pool in layer.pools.items():
            assert np.array_equal(pool.view("u1"), whole.pools[name].view("u1")), name
