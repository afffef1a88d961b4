"""Which blocks of a text an answer read, as JSON of bounded size."""

from typing import Any

import numpy as np

from sala_compile.runtime.serving.work.event import BlocksRead

MOST_COLUMNS = 256


def blocks_document(reads: BlocksRead, length: int) -> dict[str, Any]:
    """For a text of `length` tokens: for each sparse layer, how often its parts were read.

    `columns` divide the text into at most 256 parts of whole blocks, the same for all layers, and
    sum the reads of their blocks. `read` counts the blocks that a layer read at least once, of
    `blocks`.
    """
    blocks = -(-length // reads.block_tokens)
    width = max(1, -(-blocks // MOST_COLUMNS))
    layers = sorted(reads.reads)
    return {
        "block_tokens": reads.block_tokens,
        "tokens": length,
        "answer_tokens": reads.tokens,
        "blocks": blocks,
        "blocks_per_column": width,
        "layers": layers,
        "read": [int(np.count_nonzero(reads.reads[layer])) for layer in layers],
        "columns": [_columns(reads.reads[layer], blocks, width) for layer in layers],
    }


def _columns(counts: np.ndarray, blocks: int, width: int) -> list[int]:
    padded = np.zeros(-(-blocks // width) * width, np.int64)
    padded[: len(counts)] = counts
    return padded.reshape(-1, width).sum(1).tolist()
