"""Every field of the formats of published integers: used, without effect, or refused.

As GPTQModel 5, AutoAWQ, compressed-tensors 0.20 and transformers 5.23 write and read them. What
was quantised, and by which groups, follows from the tensors of the file: fields that only say which
modules a program should choose have no effect here.
"""

from __future__ import annotations

from sala_compile.sala_ir.field_rules import (
    BOOLEAN,
    NO_EFFECT,
    OBJECT,
    OBJECTS,
    TEXT,
    TEXTS,
    USED,
    FieldRule,
    FieldRules,
    one_of,
    only,
    whole,
)

GROUP_SIZE = whole(1, 2**31 - 1, -1)

_WRITERS = (  # how the integers were found, and what wrote them
    *("damp_percent", "damp_auto_increment", "true_sequential", "static_groups", "mse", "meta"),
    *("act_group_aware", "gptaq", "hessian", "fallback", "fail_safe", "failsafe", "smooth", "v2"),
    *(
        "mock_quantization",
        "dataset",
        "tokenizer",
        "nsamples",
        "seqlen",
        "iters",
        "lr",
        "autoround",
    ),
    *("model_name_or_path", "model_file_base_name", "quantizer", "producer", "version_info"),
    *("offload_to_disk", "offload_to_disk_path", "pack_impl", "device", "vram_strategy"),
    *("gc_mode", "wait_for_submodule_finalizers", "auto_forward_data_parallel", "moe"),
    *("batch_size", "pad_token_id", "max_input_length", "model_seqlen", "cache_block_outputs"),
    # which kernels a program should use
    *("backend", "use_exllama", "disable_exllama", "exllama_config", "use_cuda_fp16", "do_fuse"),
    *("modules_to_fuse", "fuse_max_seq_len"),
    # which modules it should choose
    *("block_name_to_quantize", "module_name_preceding_first_block", "lm_head"),
    *("modules_in_block_to_quantize", "modules_to_not_convert"),
)

GPTQ: FieldRules = {
    **dict.fromkeys(_WRITERS, NO_EFFECT),
    "quant_method": one_of("gptq"),
    "bits": whole(1, 16),
    "group_size": GROUP_SIZE,
    "sym": BOOLEAN,
    "desc_act": BOOLEAN,
    "static_groups": BOOLEAN,
    "checkpoint_format": one_of("gptq", "gptq_v2"),
    "format": one_of("gptq", "gptq_v2"),
    "dynamic": OBJECT,
    "pack_dtype": only("int32", "torch.int32"),
    "is_marlin_format": only(False),
    "adapter": only({}),
    "rotation": only(),
}
"""Fields of a GPTQ configuration, and of what `dynamic` changes in it."""

AWQ: FieldRules = {
    **dict.fromkeys(_WRITERS, NO_EFFECT),
    "quant_method": one_of("awq"),
    "bits": one_of(4),
    "w_bit": one_of(4),
    "group_size": GROUP_SIZE,
    "q_group_size": GROUP_SIZE,
    "zero_point": one_of(True),
    "version": one_of("gemm"),
    "format": one_of("gemm"),
    "checkpoint_format": one_of("gemm"),
    "backend": FieldRule(
        lambda value: isinstance(value, str) and value.lower() != "llm-awq",
        "any kernels but those of llm-awq, which read another layout",
    ),
    "modules_to_not_convert": TEXTS,
    "sym": BOOLEAN,  # a default of GPTQ that transformers writes: zero_point is what counts
    "desc_act": only(False),
    "dynamic": only({}),
    "pack_dtype": only("int32", "torch.int32"),
    "adapter": only({}),
    "rotation": only(),
}
"""Fields of an AWQ configuration; w_bit and q_group_size are AutoAWQ's own names."""

COMPRESSED: FieldRules = {
    "quant_method": one_of("compressed-tensors"),
    "config_groups": OBJECT,
    "format": TEXT,
    "ignore": TEXTS,
    "quantization_status": TEXT,
    "global_compression_ratio": NO_EFFECT,
    "version": NO_EFFECT,
    "kv_cache_scheme": only({}),
    "sparsity_config": USED,
    "transform_config": USED,
    "moe_sparsity_config": only({}),
    "run_compressed": NO_EFFECT,
    "dequantize": NO_EFFECT,
    "use_optimized_inference": NO_EFFECT,
}
"""Fields of a compressed-tensors configuration."""

SCHEME: FieldRules = {
    "targets": TEXTS,
    "weights": OBJECT,
    "input_activations": only(),
    "output_activations": only(),
    "format": TEXT,
}
"""Fields of an entry of config_groups."""

WEIGHTS: FieldRules = {
    "num_bits": one_of(4),
    "type": one_of("int"),
    "symmetric": BOOLEAN,
    "group_size": GROUP_SIZE,
    "strategy": one_of("group", "channel"),
    "block_structure": only(),
    "dynamic": only(False),
    "actorder": one_of(True, False, "group", "dynamic", "static", "weight"),
    "scale_dtype": NO_EFFECT,  # these three follow from the tensors
    "zp_dtype": NO_EFFECT,
    "observer": NO_EFFECT,
    "observer_kwargs": NO_EFFECT,
}
"""Fields of how a scheme quantises weights."""

SPARSITY: FieldRules = {
    "format": only("dense"),
    "targets": NO_EFFECT,
    "ignore": NO_EFFECT,
    "global_sparsity": NO_EFFECT,
    "sparsity_structure": NO_EFFECT,
    "registry_requires_subclass": NO_EFFECT,
}
"""Fields of sparsity_config: dense tensors, however many of their values are 0."""

TRANSFORMS: FieldRules = {"config_groups": OBJECTS}
"""Fields of transform_config."""

TRANSFORM: FieldRules = {
    "type": TEXT,
    "apply": USED,
    "randomize": NO_EFFECT,
    "requires_grad": NO_EFFECT,
    "head_dim": NO_EFFECT,
    "precision": NO_EFFECT,
}
"""Fields of a transform."""

PLACE: FieldRules = {
    "targets": USED,
    "ignore": USED,
    "inverse": BOOLEAN,
    "location": one_of("weight_input", "weight_output"),
}
"""Where a transform applies: to weights, before they were stored. Others are left to inference."""

PRESETS = {
    "W4A16": {"num_bits": 4, "group_size": 128, "strategy": "group", "symmetric": True},
    "W4A16_ASYM": {"num_bits": 4, "group_size": 128, "strategy": "group", "symmetric": False},
}
"""Names of whole schemes that config_groups may have, for integers of 4 bits."""
