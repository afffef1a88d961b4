"""The `sala` dialect: a hybrid sparse and linear attention model as a graph."""

from xdsl.ir import Attribute, Dialect

from sala_compile.sala_ir.dialect.attributes import (
    Epilogue,
    EpilogueAttr,
    HeadsAttr,
    LatentHeadsAttr,
    PageRoundingAttr,
    Rows,
    RowsAttr,
    SelectionAttr,
    StateHeadsAttr,
)
from sala_compile.sala_ir.dialect.base import (
    columns_of,
    element_of,
    rows_of,
    weight_shape,
    weight_type,
)
from sala_compile.sala_ir.dialect.batch import MakeBatchOp
from sala_compile.sala_ir.dialect.elementwise import (
    CastOp,
    OutputGateOp,
    ResidualAddOp,
    SigmoidOp,
    SiluOp,
    SquaredReluOp,
    SwigluOp,
)
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp, LogitsOp
from sala_compile.sala_ir.dialect.expert_kinds import (
    ExpertActivation,
    ExpertActivationAttr,
    ScoreFunction,
    ScoreFunctionAttr,
)
from sala_compile.sala_ir.dialect.experts import ExpertDownOp, ExpertUpOp, RouteOp
from sala_compile.sala_ir.dialect.indexer import SelectPoolsOp
from sala_compile.sala_ir.dialect.kernel_call import KernelCallOp
from sala_compile.sala_ir.dialect.latent import (
    AttendLatentsOp,
    HeadLinearOp,
    LatentAttentionOp,
)
from sala_compile.sala_ir.dialect.linear import (
    SWIGLU_GROUP,
    LinearOp,
    SliceOp,
    activation_group_for,
)
from sala_compile.sala_ir.dialect.mixers import (
    BlockSparseAttentionOp,
    LightningAttentionOp,
    SoftmaxAttentionOp,
)
from sala_compile.sala_ir.dialect.ngrams import NgramEmbeddingOp, ScoreStreamsOp
from sala_compile.sala_ir.dialect.norm import LayerNormOp, RmsNormOp
from sala_compile.sala_ir.dialect.plain import attribute_of, plain
from sala_compile.sala_ir.dialect.pooling import PoolTokensOp
from sala_compile.sala_ir.dialect.recurrence import (
    GatedDeltaOp,
    ShortConvolutionOp,
    StateSpaceOp,
)
from sala_compile.sala_ir.dialect.rope import RopeOp, RopeTableOp
from sala_compile.sala_ir.dialect.sala_op import SalaOp, state_updates
from sala_compile.sala_ir.dialect.selected import AttendPoolsOp, SelectedAttentionOp
from sala_compile.sala_ir.dialect.stages import (
    AppendKvOp,
    AttendBlocksOp,
    CompressKeysOp,
    CompressNewKeysOp,
    KeepRecentOp,
    RoundPagesOp,
    SelectBlocksOp,
)
from sala_compile.sala_ir.dialect.streams import (
    ConnectStreamsOp,
    JoinStreamsOp,
    SpreadStreamsOp,
)
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    ConvolutionWindowType,
    IndexerKeysType,
    KvCacheType,
    LatentCacheType,
    OpenPoolType,
    RecentKeysType,
    RecurrentStateType,
    StateType,
    TokenWindowType,
    WeightType,
    activation_type,
    ids_type,
)
from sala_compile.sala_ir.dialect.weight_role import WeightRole, WeightRoleAttr
from sala_compile.sala_ir.dialect.weight_storage import (
    EncodingAttr,
    EncodingKind,
    EncodingKindAttr,
    LayoutAttr,
    LayoutKind,
    LayoutKindAttr,
    ZeroKind,
    ZeroKindAttr,
)
from sala_compile.sala_ir.dialect.weights import (
    CastWeightOp,
    ConcatWeightsOp,
    HeadRowsOp,
    InterleaveWeightsOp,
    OffsetWeightOp,
    PackWeightOp,
    QuantizeWeightOp,
    ScaleWeightOp,
    SliceWeightOp,
    TransposeWeightOp,
    WeightOp,
    round_up,
)

_classes = [each for each in list(globals().values()) if isinstance(each, type)]

Sala = Dialect(
    "sala",
    [each for each in _classes if issubclass(each, SalaOp) and each is not SalaOp],
    [each for each in _classes if issubclass(each, Attribute) and "name" in vars(each)],
)
"""The dialect, for an xDSL `Context`: every op, type and attribute that this file imports."""

__all__ = [
    "SWIGLU_GROUP",
    "AppendKvOp",
    "AttendBlocksOp",
    "AttendLatentsOp",
    "AttendPoolsOp",
    "BatchType",
    "BlockSparseAttentionOp",
    "CastOp",
    "CastWeightOp",
    "CompressKeysOp",
    "CompressNewKeysOp",
    "CompressedKeysType",
    "ConcatWeightsOp",
    "ConnectStreamsOp",
    "ConvolutionWindowType",
    "EmbeddingOp",
    "EncodingAttr",
    "EncodingKind",
    "EncodingKindAttr",
    "Epilogue",
    "EpilogueAttr",
    "ExpertActivation",
    "ExpertActivationAttr",
    "ExpertDownOp",
    "ExpertUpOp",
    "GatedDeltaOp",
    "HeadLinearOp",
    "HeadRowsOp",
    "HeadsAttr",
    "IndexerKeysType",
    "InterleaveWeightsOp",
    "JoinStreamsOp",
    "KeepRecentOp",
    "KernelCallOp",
    "KvCacheType",
    "LatentAttentionOp",
    "LatentCacheType",
    "LatentHeadsAttr",
    "LayerNormOp",
    "LayoutAttr",
    "LayoutKind",
    "LayoutKindAttr",
    "LightningAttentionOp",
    "LinearOp",
    "LogitsOp",
    "MakeBatchOp",
    "NgramEmbeddingOp",
    "OffsetWeightOp",
    "OpenPoolType",
    "OutputGateOp",
    "PackWeightOp",
    "PageRoundingAttr",
    "PoolTokensOp",
    "QuantizeWeightOp",
    "RecentKeysType",
    "RecurrentStateType",
    "ResidualAddOp",
    "RmsNormOp",
    "RopeOp",
    "RopeTableOp",
    "RoundPagesOp",
    "RouteOp",
    "Rows",
    "RowsAttr",
    "Sala",
    "SalaOp",
    "ScaleWeightOp",
    "ScoreFunction",
    "ScoreFunctionAttr",
    "ScoreStreamsOp",
    "SelectBlocksOp",
    "SelectPoolsOp",
    "SelectedAttentionOp",
    "SelectionAttr",
    "ShortConvolutionOp",
    "SigmoidOp",
    "SiluOp",
    "SliceOp",
    "SliceWeightOp",
    "SoftmaxAttentionOp",
    "SpreadStreamsOp",
    "SquaredReluOp",
    "StateHeadsAttr",
    "StateSpaceOp",
    "StateType",
    "SwigluOp",
    "TokenWindowType",
    "TransposeWeightOp",
    "WeightOp",
    "WeightRole",
    "WeightRoleAttr",
    "WeightType",
    "ZeroKind",
    "ZeroKindAttr",
    "activation_group_for",
    "activation_type",
    "attribute_of",
    "columns_of",
    "element_of",
    "ids_type",
    "plain",
    "round_up",
    "rows_of",
    "state_updates",
    "weight_shape",
    "weight_type",
]
