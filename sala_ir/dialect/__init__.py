"""The `sala` dialect: a hybrid sparse and linear attention model as a graph."""

from xdsl.ir import Dialect

from sala_compile.sala_ir.dialect.attributes import (
    EncodingAttr,
    EncodingKind,
    Epilogue,
    Extent,
    LayoutAttr,
    LayoutKind,
    ZeroKind,
    attribute_of,
    plain,
)
from sala_compile.sala_ir.dialect.base import (
    SalaOp,
    columns_of,
    element_of,
    state_updates,
    weight_shape,
)
from sala_compile.sala_ir.dialect.batch import MakeBatchOp
from sala_compile.sala_ir.dialect.elementwise import OutputGateOp, ResidualAddOp, SwigluOp
from sala_compile.sala_ir.dialect.embedding import EmbeddingOp, LogitsOp
from sala_compile.sala_ir.dialect.kernel_call import KernelCallOp
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
from sala_compile.sala_ir.dialect.norm import RmsNormOp
from sala_compile.sala_ir.dialect.rope import RopeOp, RopeTableOp
from sala_compile.sala_ir.dialect.stages import (
    AppendKvOp,
    AttendBlocksOp,
    CompressKeysOp,
    SelectBlocksOp,
)
from sala_compile.sala_ir.dialect.types import (
    BatchType,
    CompressedKeysType,
    KvCacheType,
    RecurrentStateType,
    StateType,
    WeightType,
    activation_type,
    ids_type,
)
from sala_compile.sala_ir.dialect.weight_role import WeightRole, WeightRoleAttr
from sala_compile.sala_ir.dialect.weights import (
    CastWeightOp,
    ConcatWeightsOp,
    InterleaveWeightsOp,
    PackWeightOp,
    QuantizeWeightOp,
    ScaleWeightOp,
    WeightOp,
    round_up,
)

Sala = Dialect(
    "sala",
    [
        WeightOp,
        ConcatWeightsOp,
        InterleaveWeightsOp,
        ScaleWeightOp,
        CastWeightOp,
        QuantizeWeightOp,
        PackWeightOp,
        MakeBatchOp,
        EmbeddingOp,
        LogitsOp,
        RmsNormOp,
        LinearOp,
        SliceOp,
        OutputGateOp,
        SwigluOp,
        ResidualAddOp,
        RopeTableOp,
        RopeOp,
        BlockSparseAttentionOp,
        SoftmaxAttentionOp,
        LightningAttentionOp,
        AppendKvOp,
        CompressKeysOp,
        SelectBlocksOp,
        AttendBlocksOp,
        KernelCallOp,
    ],
    [
        BatchType,
        KvCacheType,
        CompressedKeysType,
        RecurrentStateType,
        WeightType,
        EncodingAttr,
        LayoutAttr,
        WeightRoleAttr,
    ],
)
"""The dialect, for an xDSL `Context`."""

__all__ = [
    "SWIGLU_GROUP",
    "AppendKvOp",
    "AttendBlocksOp",
    "BatchType",
    "BlockSparseAttentionOp",
    "CastWeightOp",
    "CompressKeysOp",
    "CompressedKeysType",
    "ConcatWeightsOp",
    "EmbeddingOp",
    "EncodingAttr",
    "EncodingKind",
    "Epilogue",
    "Extent",
    "InterleaveWeightsOp",
    "KernelCallOp",
    "KvCacheType",
    "LayoutAttr",
    "LayoutKind",
    "LightningAttentionOp",
    "LinearOp",
    "LogitsOp",
    "MakeBatchOp",
    "OutputGateOp",
    "PackWeightOp",
    "QuantizeWeightOp",
    "RecurrentStateType",
    "ResidualAddOp",
    "RmsNormOp",
    "RopeOp",
    "RopeTableOp",
    "Sala",
    "SalaOp",
    "ScaleWeightOp",
    "SelectBlocksOp",
    "SliceOp",
    "SoftmaxAttentionOp",
    "StateType",
    "SwigluOp",
    "WeightOp",
    "WeightRole",
    "WeightRoleAttr",
    "WeightType",
    "ZeroKind",
    "activation_group_for",
    "activation_type",
    "attribute_of",
    "columns_of",
    "element_of",
    "ids_type",
    "plain",
    "round_up",
    "state_updates",
    "weight_shape",
]
