"""The meaning of the dialect: one function per operation, over the Python array API.

With NumPy float64 arrays the functions define what the operations compute; with the tensors of a
namespace that differentiates, they differentiate. Section numbers in the docstrings are those of
the description of MiniCPM-SALA that the project follows.
"""

from sala_compile.sala_ir.reference.activations import round_activations
from sala_compile.sala_ir.reference.attention import (
    SparseAttention,
    attend_blocks,
    block_sparse_attention,
    softmax_attention,
)
from sala_compile.sala_ir.reference.batch import Batch, SequenceRows, make_batch
from sala_compile.sala_ir.reference.cache import (
    CompressedKeys,
    KVCache,
    RecentKeys,
    append_kv,
    compress_keys,
    compress_new_keys,
    compress_unrounded_keys,
)
from sala_compile.sala_ir.reference.convolution import ConvolutionWindow, short_convolution
from sala_compile.sala_ir.reference.embedding import embedding
from sala_compile.sala_ir.reference.experts import ReadExpert, expert_down, expert_up, route
from sala_compile.sala_ir.reference.gates import (
    output_gate,
    residual_add,
    scaled_sigmoid,
    silu,
    slice_columns,
    squared_relu,
    swiglu,
)
from sala_compile.sala_ir.reference.indexer import (
    IndexerKeys,
    choose_pools,
    pool_scores,
    select_pools,
    selected_tokens,
)
from sala_compile.sala_ir.reference.latent import (
    LatentCache,
    attend_latents,
    head_linear,
    latent_attention,
)
from sala_compile.sala_ir.reference.lightning import (
    LightningForm,
    RecurrentState,
    lightning_attention,
    lightning_chunked,
    lightning_recurrence,
)
from sala_compile.sala_ir.reference.linear import linear, logits
from sala_compile.sala_ir.reference.ngrams import (
    TokenWindow,
    ngram_embedding,
    ngram_rows,
    score_streams,
)
from sala_compile.sala_ir.reference.norms import layer_norm, rms_norm
from sala_compile.sala_ir.reference.pooling import OpenPool, pool_tokens
from sala_compile.sala_ir.reference.recurrence import delta_recurrence, gated_delta, state_space
from sala_compile.sala_ir.reference.rope import rope, rope_table
from sala_compile.sala_ir.reference.rounded_pages import RoundedCache, RoundedPages
from sala_compile.sala_ir.reference.rounding import Round, Rounding, exact, to_bfloat16, to_float32
from sala_compile.sala_ir.reference.selected import attend_pools, selected_attention
from sala_compile.sala_ir.reference.selection import BlockSelection, block_scores, select_blocks
from sala_compile.sala_ir.reference.streams import connect_streams, join_streams, spread_streams
from sala_compile.sala_ir.reference.weights import (
    cast_weight,
    concat_weights,
    interleave_weights,
    interleaved_part,
    offset_weight,
    quantize_weight,
    round_to_integers,
    scale_and_zero,
    scale_weight,
    zero_rows,
)

__all__ = [
    "Batch",
    "BlockSelection",
    "CompressedKeys",
    "ConvolutionWindow",
    "IndexerKeys",
    "KVCache",
    "LatentCache",
    "LightningForm",
    "OpenPool",
    "ReadExpert",
    "RecentKeys",
    "RecurrentState",
    "Round",
    "RoundedCache",
    "RoundedPages",
    "Rounding",
    "SequenceRows",
    "SparseAttention",
    "TokenWindow",
    "append_kv",
    "attend_blocks",
    "attend_latents",
    "attend_pools",
    "block_scores",
    "block_sparse_attention",
    "cast_weight",
    "choose_pools",
    "compress_keys",
    "compress_new_keys",
    "compress_unrounded_keys",
    "concat_weights",
    "connect_streams",
    "delta_recurrence",
    "embedding",
    "exact",
    "expert_down",
    "expert_up",
    "gated_delta",
    "head_linear",
    "interleave_weights",
    "interleaved_part",
    "join_streams",
    "latent_attention",
    "layer_norm",
    "lightning_attention",
    "lightning_chunked",
    "lightning_recurrence",
    "linear",
    "logits",
    "make_batch",
    "ngram_embedding",
    "ngram_rows",
    "offset_weight",
    "output_gate",
    "pool_scores",
    "pool_tokens",
    "quantize_weight",
    "residual_add",
    "rms_norm",
    "rope",
    "rope_table",
    "round_activations",
    "round_to_integers",
    "route",
    "scale_and_zero",
    "scale_weight",
    "scaled_sigmoid",
    "score_streams",
    "select_blocks",
    "select_pools",
    "selected_attention",
    "selected_tokens",
    "short_convolution",
    "silu",
    "slice_columns",
    "softmax_attention",
    "spread_streams",
    "squared_relu",
    "state_space",
    "swiglu",
    "to_bfloat16",
    "to_float32",
    "zero_rows",
]
