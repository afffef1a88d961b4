"""How many programs share the past of a decoded token in dense attention, by the time model.

    python -m benchmarks.gpu.dense_splits

Compiles the decode kernels of a few shapes for every GPU of `cards.py` with 32 to 256 splits, and
prints microseconds of a layer: what memory bounds at the least, then for each number of splits.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.gpu.cards import CARDS, Card
from benchmarks.gpu.launch_bounds import predicted
from benchmarks.gpu.released import Call
from benchmarks.gpu.work import Case
from sala_compile.codegen.kernels.attend_blocks.gpu.kernel import FAMILY
from sala_compile.codegen.kernels.attend_blocks.gpu.spec import Schedule, Spec
from sala_compile.codegen.kernels.tir.element import Element
from sala_compile.codegen.targets.cuda import CudaTarget

HEADS = ((16, 1), (16, 2), (16, 4), (32, 8))
"""Heads of queries, and of keys and values."""
SIZE, BLOCK = 128, 64
CONTEXTS = (1 << 13, 1 << 16)
SPLITS = (32, 64, 128, 256)
CACHE = Path("build/bounds")


def spec_of(heads: int, kv_heads: int) -> Spec:
    """The decode kernel of a dense layer in bfloat16."""
    pitch = (heads + 2 * kv_heads) * SIZE
    kinds = {"element": Element.BF16, "out_element": Element.BF16}
    sizes = {"num_heads": heads, "kv_heads": kv_heads, "head_dim": SIZE, "block_size": BLOCK}
    queries = {"q_start": 0, "q_pitch": pitch, "scale": SIZE**-0.5}
    gate = {"gate": False, "gate_start": 0, "gate_pitch": 0}
    return Spec(**sizes, **kinds, **queries, **gate, budget=0, decode=True, page_blocks=1)


def rows(card: Card) -> Iterator[str]:
    """The lines of a card; an asterisk is at the number of splits that artifacts have."""
    target = CudaTarget(card.architecture)
    for heads, kv_heads in HEADS:
        spec = spec_of(heads, kv_heads)
        default = Schedule.fitting(spec, target)
        for context in CONTEXTS:
            case, cells = Case(1, context, BLOCK, 0), list[str]()
            for splits in SPLITS:
                kernel = FAMILY.build(spec, target, replace(default, splits=splits))
                made = predicted([Call(kernel, "attend_blocks", 1)], case, card, CACHE)
                us = 1e6 * sum(each.seconds for each in made)
                cells.append(f"{us:.1f}{'*' * (splits == default.splits)}")
            floor = 1e6 * context * kv_heads * SIZE * 4 / card.dram
            shape = f"{heads}/{kv_heads}, {context >> 10}K"
            yield f"| {card.name} | {shape} | {floor:.1f} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    print(f"| | heads, tokens | memory | {' | '.join(map(str, SPLITS))} |")
    print("|---" * (3 + len(SPLITS)) + "|")
    for card in CARDS.values():
        print("\n".join(rows(card)))


if __name__ == "__main__":
    main()
