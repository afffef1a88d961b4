"""Checkpoints of the published formats of 4 bits, small and whole."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from sala_compile.sala_ir.frontends import frontend_for
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config


def write_quantized(directory: Path) -> None:
    """Checkpoints of the published formats in which two modules are integers."""
    config = tiny_config(mixers=(SPARSE, LIGHTNING), vocabulary=131)
    frontend = frontend_for(config)
    expected = frontend.expected_tensors(frontend.parse_config(config))
    modules = ("model.layers.1.mlp.down_proj", "model.layers.0.mlp.up_proj")
    for name, (quantization, parts_of) in quantized_formats().items():
        tensors = {n: np.zeros(shape, np.float32) for n, shape in expected.items()}
        for module in modules:
            rows, columns = tensors.pop(f"{module}.weight").shape
            parts = parts_of(rows, columns)
            tensors |= {f"{module}.{part}": values for part, values in parts.items()}
        folder = directory / name
        folder.mkdir(parents=True)
        save_file(tensors, folder / "model.safetensors")
        document = json.dumps(config | {"quantization_config": quantization})
        (folder / "config.json").write_text(document)


def quantized_formats() -> dict[str, tuple[dict[str, Any], Any]]:
    """For each format its configuration, and what gives the parts of a module [rows, columns]."""

    def gptq(rows: int, columns: int) -> dict[str, np.ndarray]:
        groups = columns // 32
        return {
            "qweight": np.full((columns // 8, rows), 0x12345678, np.int32),
            "qzeros": np.full((groups, rows // 8), 0x77777777, np.int32),
            "scales": np.full((groups, rows), 0.5, np.float16),
            "g_idx": (np.arange(columns) // 32).astype(np.int32),
        }

    def awq(rows: int, columns: int) -> dict[str, np.ndarray]:
        groups = columns // 32
        return {
            "qweight": np.full((columns, rows // 8), 0x12345678, np.int32),
            "qzeros": np.full((groups, rows // 8), 0x77777777, np.int32),
            "scales": np.full((groups, rows), 0.5, np.float16),
        }

    def packed(rows: int, columns: int) -> dict[str, np.ndarray]:
        return {
            "weight_packed": np.full((rows, columns // 8), 0x12345678, np.int32),
            "weight_scale": np.full((rows, columns // 32), 0.5, np.float16),
            "weight_shape": np.array([rows, columns], np.int64),
        }

    weights = {
        "num_bits": 4,
        "type": "int",
        "strategy": "group",
        "group_size": 32,
        "symmetric": True,
        "dynamic": False,
        "actorder": None,
        "observer": "minmax",
    }
    common = {"bits": 4, "group_size": 32}
    return {
        "gptq": (
            {
                **common,
                "quant_method": "gptq",
                "sym": True,
                "desc_act": False,
                "checkpoint_format": "gptq",
                "dynamic": {"-:.*lm_head.*": {}, "+:.*mlp.*": {"bits": 4, "group_size": 32}},
                "meta": {"quantizer": ["gptqmodel:1.0"], "damp_percent": 0.01},
            },
            gptq,
        ),
        "awq": ({**common, "quant_method": "awq", "zero_point": True, "version": "gemm"}, awq),
        "packed": (
            {
                "quant_method": "compressed-tensors",
                "format": "pack-quantized",
                "quantization_status": "compressed",
                "kv_cache_scheme": None,
                "ignore": ["lm_head"],
                "config_groups": {
                    "group_0": {
                        "targets": ["Linear"],
                        "weights": weights,
                        "input_activations": None,
                        "output_activations": None,
                    }
                },
            },
            packed,
        ),
    }
