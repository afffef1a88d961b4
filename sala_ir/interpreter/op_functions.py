"""The dialect's operations for xDSL's interpreter: each calls its reference function."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from array_api_compat import array_namespace
from xdsl.interpreter import Interpreter, InterpreterFunctions, PythonValues, impl, register_impls
from xdsl.ir import Operation, SSAValue

from sala_compile.sala_ir import dialect, reference
from sala_compile.sala_ir.attention_sizes import dense_block
from sala_compile.sala_ir.interpreter.numerics import Numerics
from sala_compile.sala_ir.interpreter.weight_reference import ReferenceArithmetic
from sala_compile.sala_ir.interpreter.weight_rows import RowSource, WeightValue, weight_value
from sala_compile.sala_ir.reference.arrays import Array
from sala_compile.sala_ir.reference.linear import linear_epilogue

Notice = Callable[[str, int | None, Any], None]
"""Receives the kind of an inner value, its layer (None before the first) and the value."""


class _Operands:
    """The Python values of an operation's operands, by SSA value; weights are yet to be read."""

    def __init__(self, op: Operation, args: PythonValues, numerics: Numerics):
        values = (numerics.weight(arg) if isinstance(arg, WeightValue) else arg for arg in args)
        self._values = dict(zip(op.operands, values, strict=True))

    def __call__(self, operand: SSAValue | None) -> Any:
        """The value of an operand, None for an absent one; a weight whole."""
        value = None if operand is None else self._values[operand]
        return value.whole() if isinstance(value, WeightValue) else value

    def weight(self, operand: SSAValue) -> WeightValue:
        """The value of a weight operand, still to be read."""
        return self._values[operand]


@register_impls
class SalaFunctions(InterpreterFunctions):
    """Runs every operation but `kernel_call`, on weights from `source`.

    States are the functional values of `sala_ir.reference.cache` and `.lightning`; a batch is a
    `reference.Batch`; a weight is a `WeightValue` whose rows stay as they are stored until an
    operation computes with them. `notice` receives "selected_blocks" (blocks and
    counts), "blocks_read", "selected_pools", "experts" and "hidden" (the residual stream) as they
    come.
    """

    def __init__(self, source: RowSource, numerics: Numerics, notice: Notice | None = None):
        self._arithmetic = ReferenceArithmetic(source, numerics)
        self._numerics = numerics
        self.notice: Notice = notice or (lambda kind, layer, value: None)

    def _weight_side(self, _: Interpreter, op: dialect.SalaOp, args: PythonValues) -> PythonValues:
        return (weight_value(op, args, self._arithmetic),)

    _weight = impl(dialect.WeightOp)(_weight_side)
    _concat = impl(dialect.ConcatWeightsOp)(_weight_side)
    _interleave = impl(dialect.InterleaveWeightsOp)(_weight_side)
    _scale = impl(dialect.ScaleWeightOp)(_weight_side)
    _offset = impl(dialect.OffsetWeightOp)(_weight_side)
    _slice_weight = impl(dialect.SliceWeightOp)(_weight_side)
    _transpose = impl(dialect.TransposeWeightOp)(_weight_side)
    _head_rows = impl(dialect.HeadRowsOp)(_weight_side)
    _cast = impl(dialect.CastWeightOp)(_weight_side)
    _quantize = impl(dialect.QuantizeWeightOp)(_weight_side)
    _pack = impl(dialect.PackWeightOp)(_weight_side)

    @impl(dialect.MakeBatchOp)
    def _make_batch(
        self, _: Interpreter, op: dialect.MakeBatchOp, args: PythonValues
    ) -> PythonValues:
        values = dict(zip(op.operands, args, strict=True))
        return (reference.make_batch(*(values[field] for field in op.fields)),)

    @impl(dialect.EmbeddingOp)
    def _embedding(
        self, _: Interpreter, op: dialect.EmbeddingOp, args: PythonValues
    ) -> PythonValues:
        tokens, weight = args
        rows = self._numerics.weight(weight).take(tokens)
        hidden = reference.embedding(np.arange(len(tokens)), rows, **op.parameters)
        return self._stream(op, hidden)

    @impl(dialect.LogitsOp)
    def _logits(self, _: Interpreter, op: dialect.LogitsOp, args: PythonValues) -> PythonValues:
        hidden, rows, weight = args
        blocks = [
            reference.logits(hidden, rows, block, **op.parameters)
            for block in self._numerics.weight(weight).blocks()
        ]
        return self._results(op, array_namespace(*blocks).concat(blocks, axis=1))

    @impl(dialect.RmsNormOp)
    def _rms_norm(self, _: Interpreter, op: dialect.RmsNormOp, args: PythonValues) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(operand) for operand in (op.x, op.weight, op.rows, op.gate))
        return self._results(op, reference.rms_norm(*operands, **op.parameters))

    @impl(dialect.LayerNormOp)
    def _layer_norm(
        self, _: Interpreter, op: dialect.LayerNormOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(operand) for operand in op.operands)
        return self._results(op, reference.layer_norm(*operands, **op.parameters))

    @impl(dialect.LinearOp)
    def _linear(self, _: Interpreter, op: dialect.LinearOp, args: PythonValues) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        columns = dialect.columns_of(op.result)
        x, residual = value(op.x), value(op.residual)
        x = self._numerics.activations(x, op.parameters["activation_group"])
        blocks = [reference.linear(x, block) for block in value.weight(op.weight).blocks()]
        y = linear_epilogue(
            array_namespace(x).concat(blocks, axis=1),
            value(op.bias),
            residual,
            scale=op.parameters["scale"],
            swiglu_columns=columns if op.is_swiglu else None,
            limit=op.parameters["limit"],
        )
        return self._results(op, y) if residual is None else self._stream(op, y)

    @impl(dialect.RouteOp)
    def _route(self, _: Interpreter, op: dialect.RouteOp, args: PythonValues) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        experts, gates = reference.route(value(op.scores), value(op.bias), **op.parameters)
        self.notice("experts", op.layer, experts)
        return self._results(op, experts, gates)

    @impl(dialect.ExpertUpOp)
    def _expert_up(
        self, _: Interpreter, op: dialect.ExpertUpOp, args: PythonValues
    ) -> PythonValues:
        value, gate = _Operands(op, args, self._numerics), None
        up = _experts(value.weight(op.weight), op.count.value.data)
        if op.gate is not None:
            gate = _experts(value.weight(op.gate), op.count.value.data)
        elif op.is_interleaved:
            gate, up = _interleaved(up, 0), _interleaved(up, 1)
        x = self._numerics.activations(value(op.x), op.parameters["activation_group"])
        own = {name: op.parameters[name] for name in ("activation", "limit")}
        return self._results(op, reference.expert_up(x, value(op.experts), up, gate, **own))

    @impl(dialect.ExpertDownOp)
    def _expert_down(
        self, _: Interpreter, op: dialect.ExpertDownOp, args: PythonValues
    ) -> PythonValues:
        value, columns = _Operands(op, args, self._numerics), dialect.columns_of(op.result)
        weight = _experts(value.weight(op.weight), op.count.value.data)
        y = op.parameters["scale"] * reference.expert_down(
            self._numerics.activations(value(op.x), op.parameters["activation_group"]),
            value(op.experts),
            value(op.gates),
            lambda expert: weight(expert)[:columns, :],
            width=op.width,
        )
        residual = value(op.residual)
        return self._results(op, y) if residual is None else self._stream(op, residual + y)

    @impl(dialect.SliceOp)
    def _slice(self, _: Interpreter, op: dialect.SliceOp, args: PythonValues) -> PythonValues:
        return self._results(op, reference.slice_columns(args[0], **op.parameters))

    @impl(dialect.CastOp)
    def _cast_activation(
        self, _: Interpreter, op: dialect.CastOp, args: PythonValues
    ) -> PythonValues:
        return self._results(op, args[0])

    @impl(dialect.OutputGateOp)
    def _output_gate(
        self, _: Interpreter, op: dialect.OutputGateOp, args: PythonValues
    ) -> PythonValues:
        return self._results(op, reference.output_gate(*args))

    @impl(dialect.SwigluOp)
    def _swiglu(self, _: Interpreter, op: dialect.SwigluOp, args: PythonValues) -> PythonValues:
        return self._results(op, reference.swiglu(*args, **op.parameters))

    @impl(dialect.SiluOp)
    def _silu(self, _: Interpreter, op: dialect.SiluOp, args: PythonValues) -> PythonValues:
        return self._results(op, reference.silu(*args))

    @impl(dialect.SigmoidOp)
    def _sigmoid(self, _: Interpreter, op: dialect.SigmoidOp, args: PythonValues) -> PythonValues:
        return self._results(op, reference.scaled_sigmoid(*args, **op.parameters))

    @impl(dialect.NgramEmbeddingOp)
    def _ngram_embedding(
        self, _: Interpreter, op: dialect.NgramEmbeddingOp, args: PythonValues
    ) -> PythonValues:
        tokens, table, window, batch = args
        rows, updated = reference.ngram_rows(tokens, window, batch, **op.parameters)
        found = self._numerics.weight(table).take(rows.reshape(-1))
        places = np.arange(rows.size).reshape(rows.shape)
        return self._results(op, reference.ngram_embedding(places, found), updated)

    @impl(dialect.ScoreStreamsOp)
    def _score_streams(
        self, _: Interpreter, op: dialect.ScoreStreamsOp, args: PythonValues
    ) -> PythonValues:
        return self._results(op, reference.score_streams(*args, **op.parameters))

    @impl(dialect.SquaredReluOp)
    def _squared_relu(
        self, _: Interpreter, op: dialect.SquaredReluOp, args: PythonValues
    ) -> PythonValues:
        return self._results(op, reference.squared_relu(*args))

    @impl(dialect.ResidualAddOp)
    def _residual_add(
        self, _: Interpreter, op: dialect.ResidualAddOp, args: PythonValues
    ) -> PythonValues:
        return self._stream(op, reference.residual_add(*args, **op.parameters))

    @impl(dialect.ConnectStreamsOp)
    def _connect_streams(
        self, _: Interpreter, op: dialect.ConnectStreamsOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(operand) for operand in op.operands)
        return self._results(op, reference.connect_streams(*operands, **op.parameters))

    @impl(dialect.JoinStreamsOp)
    def _join_streams(
        self, _: Interpreter, op: dialect.JoinStreamsOp, args: PythonValues
    ) -> PythonValues:
        return self._results(op, reference.join_streams(*args, **op.parameters))

    @impl(dialect.SpreadStreamsOp)
    def _spread_streams(
        self, _: Interpreter, op: dialect.SpreadStreamsOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(operand) for operand in (op.y, op.x, op.gains, op.mix))
        streams = reference.spread_streams(*operands, **op.parameters)
        return self._stream(op, streams)

    @impl(dialect.RopeTableOp)
    def _rope_table(
        self, _: Interpreter, op: dialect.RopeTableOp, args: PythonValues
    ) -> PythonValues:
        table = reference.rope_table(args[0], **op.parameters)
        return self._results(op, self._numerics.array(table))

    @impl(dialect.RopeOp)
    def _rope(self, _: Interpreter, op: dialect.RopeOp, args: PythonValues) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(operand) for operand in (op.x, op.table, op.norm))
        return self._results(op, reference.rope(*operands, **op.parameters))

    @impl(dialect.LightningAttentionOp)
    def _lightning_attention(
        self, _: Interpreter, op: dialect.LightningAttentionOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        required, fused = (op.q, op.k, op.v, op.state, op.batch), (op.q_norm, op.k_norm, op.rope)
        out, state = reference.lightning_attention(
            *(value(operand) for operand in (*required, *fused)),
            heads=op.heads.data,
            eps=op.parameters["eps"],
            slopes=op.parameters["slopes"],
            form=self._numerics.lightning,
            state_rounding=self._state_rounder(op.state),
        )
        return self._results(op, out, state)

    @impl(dialect.ShortConvolutionOp)
    def _short_convolution(
        self, _: Interpreter, op: dialect.ShortConvolutionOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(each) for each in (op.x, op.window, op.batch, op.weight, op.bias))
        out, window = reference.short_convolution(
            *operands,
            dilation=op.dilation.value.data,
            state_rounding=self._state_rounder(op.window),
        )
        return self._results(op, out, window)

    @impl(dialect.PoolTokensOp)
    def _pool_tokens(
        self, _: Interpreter, op: dialect.PoolTokensOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (value(each) for each in (op.x, op.state, op.batch, op.gate, op.place))
        rounding = self._state_rounder(op.state)
        found = reference.pool_tokens(*operands, **op.parameters, state_rounding=rounding)
        return self._results(op, *found)

    @impl(dialect.GatedDeltaOp)
    def _gated_delta(
        self, _: Interpreter, op: dialect.GatedDeltaOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        out, state = reference.gated_delta(
            *(value(operand) for operand in op.operands),
            heads=op.heads.data,
            eps=op.parameters["eps"],
            rate_scale=op.parameters["rate_scale"],
            lower_bound=op.parameters["lower_bound"],
            state_rounding=self._state_rounder(op.state),
        )
        return self._results(op, out, state)

    @impl(dialect.StateSpaceOp)
    def _state_space(
        self, _: Interpreter, op: dialect.StateSpaceOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        out, state = reference.state_space(
            *(value(operand) for operand in op.operands),
            heads=op.heads.data,
            least=op.parameters["least"],
            most=op.parameters["most"],
            state_rounding=self._state_rounder(op.state),
        )
        return self._results(op, out, state)

    @impl(dialect.SoftmaxAttentionOp)
    def _softmax_attention(
        self, _: Interpreter, op: dialect.SoftmaxAttentionOp, args: PythonValues
    ) -> PythonValues:
        out, kv = reference.softmax_attention(
            *args,
            heads=op.heads.data,
            block_size=dense_block(_cache(op.kv).page_tokens.data),
            cache_rounding=self._state_rounder(op.kv),
            operand_rounding=self._operand_rounder(op.kv),
            pages=self._pages(op.kv),
        )
        return self._results(op, out, kv)

    @impl(dialect.LatentAttentionOp)
    def _latent_attention(
        self, _: Interpreter, op: dialect.LatentAttentionOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        new = (op.q, op.latent, op.rotary, op.cache, op.batch)
        out, cache = reference.latent_attention(
            *map(value, (*new, op.key_weight, op.value_weight, op.selection)),
            heads=op.heads.data,
            pool=op.parameters.get("pool", 1),
            cache_rounding=self._state_rounder(op.cache),
            operand_rounding=self._operand_rounder(op.cache),
        )
        return self._results(op, out, cache)

    @impl(dialect.HeadLinearOp)
    def _head_linear(
        self, _: Interpreter, op: dialect.HeadLinearOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        found = reference.head_linear(value(op.x), value(op.weight), **op.parameters)
        return self._results(op, found)

    @impl(dialect.AttendLatentsOp)
    def _attend_latents(
        self, _: Interpreter, op: dialect.AttendLatentsOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        operands = (op.absorbed, op.q, op.latent, op.rotary, op.cache, op.batch, op.selection)
        out, cache = reference.attend_latents(
            *map(value, operands),
            heads=op.heads.data,
            pool=op.parameters.get("pool", 1),
            cache_rounding=self._state_rounder(op.cache),
            operand_rounding=self._operand_rounder(op.cache),
        )
        return self._results(op, out, cache)

    @impl(dialect.SelectedAttentionOp)
    def _selected_attention(
        self, _: Interpreter, op: dialect.SelectedAttentionOp, args: PythonValues
    ) -> PythonValues:
        out, kv = reference.selected_attention(
            *args,
            heads=op.heads.data,
            pool=op.pool.value.data,
            cache_rounding=self._state_rounder(op.kv),
            operand_rounding=self._operand_rounder(op.kv),
        )
        return self._results(op, out, kv)

    @impl(dialect.AttendPoolsOp)
    def _attend_pools(
        self, _: Interpreter, op: dialect.AttendPoolsOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        out = reference.attend_pools(
            *(value(each) for each in (op.q, op.kv, op.batch, op.selection, op.gate)),
            heads=op.heads.data,
            pool=op.pool.value.data,
            operand_rounding=self._operand_rounder(op.kv),
        )
        return self._results(op, out)

    @impl(dialect.SelectPoolsOp)
    def _select_pools(
        self, _: Interpreter, op: dialect.SelectPoolsOp, args: PythonValues
    ) -> PythonValues:
        selection, cache = reference.select_pools(
            *args,
            **op.parameters,
            pool=op.pool,
            cache_rounding=self._state_rounder(op.cache),
            operand_rounding=self._operand_rounder(op.cache),
        )
        self.notice("selected_pools", op.layer, selection)
        return self._results(op, selection, cache)

    @impl(dialect.BlockSparseAttentionOp)
    def _block_sparse_attention(
        self, _: Interpreter, op: dialect.BlockSparseAttentionOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        required = (op.q, op.k, op.v, op.kv, op.ck, op.batch)
        others = (op.choosing_q, op.choosing_k, op.recent)
        result = reference.block_sparse_attention(
            *(value(operand) for operand in (*required, *others)),
            heads=op.heads.data,
            selection=op.selection.data,
            cache_rounding=self._state_rounder(op.kv),
            compressed_rounding=self._state_rounder(op.ck),
            operand_rounding=self._operand_rounder(op.kv),
            pages=self._pages(op.kv),
        )
        self.notice("selected_blocks", op.layer, (result.blocks, result.counts))
        self.notice("blocks_read", op.layer, result.blocks_read)
        states = [result.kv, result.compressed, *([result.recent] if op.recent_out else [])]
        return self._results(op, result.out, *states)

    @impl(dialect.AppendKvOp)
    def _append_kv(
        self, _: Interpreter, op: dialect.AppendKvOp, args: PythonValues
    ) -> PythonValues:
        kv_heads = _cache(op.kv).kv_heads.data
        rounding = self._state_rounder(op.kv)
        return (reference.append_kv(*args, kv_heads=kv_heads, rounding=rounding),)

    @impl(dialect.RoundPagesOp)
    def _round_pages(
        self, _: Interpreter, op: dialect.RoundPagesOp, args: PythonValues
    ) -> PythonValues:
        return (self._rounded(op.kv).round_pages(*args),)

    @impl(dialect.KeepRecentOp)
    def _keep_recent(
        self, _: Interpreter, op: dialect.KeepRecentOp, args: PythonValues
    ) -> PythonValues:
        return (self._rounded(op.kv).keep_recent(*args),)

    @impl(dialect.CompressKeysOp)
    def _compress_keys(
        self, _: Interpreter, op: dialect.CompressKeysOp, args: PythonValues
    ) -> PythonValues:
        kind, value = (
            cast(dialect.CompressedKeysType, op.ck.type),
            _Operands(op, args, self._numerics),
        )
        sizes: dict[str, Any] = {
            "kernel_size": kind.kernel_size.data,
            "kernel_stride": kind.kernel_stride.data,
            "rounding": self._state_rounder(op.ck),
        }
        kv, compressed, batch = (value(operand) for operand in (op.kv, op.ck, op.batch))
        pages = self._pages(op.kv)
        if pages is None:
            return (reference.compress_keys(kv, compressed, batch, **sizes),)
        new = value(op.k)
        return (
            reference.compress_unrounded_keys(new, kv, compressed, batch, pages=pages, **sizes),
        )

    @impl(dialect.CompressNewKeysOp)
    def _compress_new_keys(
        self, _: Interpreter, op: dialect.CompressNewKeysOp, args: PythonValues
    ) -> PythonValues:
        kind = cast(dialect.CompressedKeysType, op.ck.type)
        return reference.compress_new_keys(
            *args,
            kv_heads=kind.kv_heads.data,
            kernel_size=kind.kernel_size.data,
            kernel_stride=kind.kernel_stride.data,
            recent_rounding=self._state_rounder(op.recent),
            rounding=self._state_rounder(op.ck),
        )

    @impl(dialect.SelectBlocksOp)
    def _select_blocks(
        self, _: Interpreter, op: dialect.SelectBlocksOp, args: PythonValues
    ) -> PythonValues:
        blocks, counts = reference.select_blocks(
            *args,
            heads=op.heads.data,
            selection=op.selection.data,
            operand_rounding=self._operand_rounder(op.ck),
        )
        self.notice("selected_blocks", op.layer, (blocks, counts))
        return blocks, counts

    @impl(dialect.AttendBlocksOp)
    def _attend_blocks(
        self, _: Interpreter, op: dialect.AttendBlocksOp, args: PythonValues
    ) -> PythonValues:
        value = _Operands(op, args, self._numerics)
        out, blocks_read = reference.attend_blocks(
            *(value(x) for x in (op.q, op.kv, op.batch, op.blocks, op.counts, op.gate, op.k, op.v)),
            heads=op.heads.data,
            block_size=op.block,
            operand_rounding=self._operand_rounder(op.kv),
            pages=self._pages(op.kv),
        )
        self.notice("blocks_read", op.layer, blocks_read)
        return self._results(op, out, blocks_read)

    def _results(self, op: Operation, *values: Any) -> PythonValues:
        """Round every result as its type says."""
        pairs = zip(op.results, values, strict=True)
        return tuple(self._numerics.rounded(result.type, value) for result, value in pairs)

    def _stream(self, op: dialect.SalaOp, hidden: Array) -> PythonValues:
        """Round the residual stream and report it."""
        results = self._results(op, hidden)
        self.notice("hidden", op.layer, results[0])
        return results

    def _state_rounder(self, state: SSAValue) -> reference.Round:
        return self._numerics.rounder(cast(dialect.StateType, state.type).element_type)

    def _pages(self, state: SSAValue) -> reference.RoundedPages | None:
        """How full pages of a cache are rounded; None if they are as they are."""
        return None if _cache(state).rounding is None else self._rounded(state)

    def _rounded(self, state: SSAValue) -> reference.RoundedPages:
        """How full pages of a cache are rounded."""
        cache = _cache(state)
        assert cache.rounding is not None, "the verifier has looked"
        heads, page = cache.kv_heads.data, cache.page_tokens.data
        return reference.RoundedPages(heads, page, cache.rounding, self._state_rounder(state))

    def _operand_rounder(self, state: SSAValue) -> reference.Round:
        return self._numerics.operand_rounder(cast(dialect.StateType, state.type).element_type)


def _experts(weight: WeightValue, count: int) -> reference.ReadExpert:
    """The rows of each of `count` experts that are one below the other."""
    rows = weight.shape[0] // count
    return lambda expert: weight.read(expert * rows, (expert + 1) * rows)


def _interleaved(both: reference.ReadExpert, part: int) -> reference.ReadExpert:
    """The rows of gate (`part` 0) or up (1) of experts that have both in turns."""
    group = dialect.SWIGLU_GROUP
    return lambda expert: reference.interleaved_part(both(expert), part, group=group)


def _cache(state: SSAValue) -> dialect.KvCacheType:
    return cast(dialect.KvCacheType, state.type)
