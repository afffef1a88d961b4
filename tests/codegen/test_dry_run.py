"""Plans on paper: quantised weights in the graph, and their bytes."""

import json
import re
from math import prod
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from xdsl.dialects.builtin import bf16, f32

import sala_compile
from sala_compile.codegen import compiler
from sala_compile.codegen.cli.compile import command
from sala_compile.codegen.layouts.encodings import weight_parts
from sala_compile.sala_ir import reference
from sala_compile.sala_ir.dialect import EncodingAttr, LayoutAttr, WeightType
from tests.codegen.conftest import SMALL
from tests.support.checkpoints import tiny_config, write_checkpoint

RELEASED = Path(__file__).parents[2] / "examples" / "released-config.json"
GIB = 1 << 30


def run(*arguments: object) -> Result:
    """Run sala-compile."""
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def planned(*arguments: object) -> dict:
    """The document of a dry run."""
    result = run(*arguments, "--dry-run", "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def released() -> dict:
    """The released model with int4 weights at a million tokens."""
    return planned("--config", RELEASED, "--quantize", "int4-g128", "--context", "1M")


def test_the_documents_show_what_dry_runs_print(monkeypatch):
    """Weights and memory, for the two threads of the machine that it was written on."""
    root = RELEASED.parents[1]
    pages = sorted((root / "docs").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    shown = re.findall(
        r"\$ sala-compile (--config [^\n]* --dry-run)\n\.\.\.\n(.*?)```", text, re.S
    ) + re.findall(r"`sala-compile (--config .* --dry-run)` plans the\n.* at ([\d.]+ GiB)\.", text)
    assert len(shown) == 3
    monkeypatch.chdir(root)
    monkeypatch.setattr(compiler, "available_cpus", lambda: 2)
    for command_line, printed in shown:
        result = run(*command_line.split())
        assert result.exit_code == 0, result.stderr
        assert " ".join(printed.split()) in " ".join(result.output.split())


def _by_kind(document: dict) -> dict[str, dict]:
    return {entry["kind"]: entry for entry in document["weights"]["kinds"]}


def test_the_released_model_fits_16_gib_at_a_million_tokens(released):
    memory = released["memory"]
    assert memory["total_bytes"] == sum(memory["parts"].values()) <= 16 * GIB
    assert memory["context"] == 1 << 20
    assert memory["parts"]["kv_pages"] == 8 * 2 * 128 * 2 * 2 * (1 << 20)
    assert memory["parts"]["arena"] <= 1.05 * memory["arena_lower_bound_bytes"]
    fitting = {entry["memory_bytes"]: entry["context"] for entry in memory["largest_context"]}
    assert list(fitting) == [size * GIB for size in (8, 16, 24, 32, 80, 141)]
    assert 0 < fitting[8 * GIB] < 1 << 20 <= fitting[16 * GIB]


def test_every_byte_of_the_weights_is_told(released):
    weights = released["weights"]
    assert weights["bytes"] == released["memory"]["parts"]["weights"]
    tensors = sum(tensor["bytes"] for tensor in weights["tensors"])
    kinds = sum(entry["bytes"] for entry in weights["kinds"])
    assert tensors == kinds == weights["bytes"] - weights["file_headers_bytes"]
    values = sum(entry["values"] for entry in weights["kinds"])
    assert values == released["model"]["parameters"]
    for entry in weights["kinds"]:
        assert sum(entry["parts"].values()) == entry["bytes"]


def test_which_weights_of_the_released_model_are_quantised(released):
    kinds = _by_kind(released)
    integers = kinds["linears of the layers"]
    assert (integers["encoding"], integers["bits_per_value"]) == ("int4-g128", 4.125)
    assert integers["parts"]["codes"] == integers["values"] // 2
    assert integers["parts"]["scales"] == integers["values"] // 128 * 2
    kept = kinds["output gates, q and k that choose blocks"]
    assert kept["values"] == 32 * 4096**2 + 8 * (4096 + 256) * 4096
    for kind in ("output gates, q and k that choose blocks", "head"):
        assert (kinds[kind]["encoding"], kinds[kind]["dtype"]) == ("int8-g128", "bfloat16")
    assert (kinds["embedding"]["encoding"], kinds["embedding"]["dtype"]) == ("plain", "bfloat16")
    assert kinds["norms and biases"]["dtype"] == "float32"


@pytest.mark.parametrize(
    ("quantization", "bits"), [("int4-g32", 4.5), ("int4-g128", 4.125), ("int8", 8.125)]
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_bits_of_a_value(tmp_path, quantization, bits, dtype):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config(hidden=128, heads=4, head_dim=32, intermediate=256)))
    made = planned("--config", config, "--quantize", quantization, "--dtype", dtype)
    integers = _by_kind(made)["linears of the layers"]
    assert integers["encoding"].startswith(quantization)
    assert integers["bits_per_value"] == bits
    assert integers["dtype"] == dtype


def test_dense_models_keep_their_scores_too(tmp_path):
    config = tmp_path / "config.json"
    config.write_text(json.dumps(tiny_config()))
    made = planned("--config", config, "--quantize", "int4-g32", "--attention", "dense")
    kept = [t["name"] for t in made["weights"]["tensors"] if t["kind"].startswith("output gates")]
    assert any("0.self_attn.q_proj+k_proj+o_gate" in name for name in kept)
    assert any("1.self_attn.z_proj" in name for name in kept)
    assert not any("1.self_attn.q_proj" in name for name in kept)


def test_the_plan_on_paper_is_what_a_loaded_model_takes(tmp_path):
    """To the byte, headers of the weight files included."""
    checkpoint = write_checkpoint(tmp_path / "checkpoint", SMALL)
    sizes = ("--context", "2K", "--chunk", "128", "--dtype", "float32")
    paper = planned("--config", checkpoint / "config.json", *sizes)["memory"]
    artifact = tmp_path / "x.sala"
    assert run(checkpoint, "-o", artifact, *sizes).exit_code == 0
    with sala_compile.load(artifact, threads=paper["threads"]) as model:
        held = model.info()["memory"]
    assert held["parts"] == paper["parts"]
    assert held["total_bytes"] == held["planned_bytes"] == paper["total_bytes"]


def test_stored_parts_cover_padded_rows_and_groups():
    for element in (f32, bf16):
        for encoding in (
            EncodingAttr("int4", 128),
            EncodingAttr("int4", 32, "stored"),
            EncodingAttr("int8", 128),
        ):
            kind = WeightType([100, 200], element, encoding, LayoutAttr.panel(64))
            parts = {part.suffix: part for part in weight_parts(kind)}
            assert tuple(parts) == encoding.parts
            group = encoding.group.data
            columns = -(-200 // group) * group
            sizes = {name: part.spec("w").nbytes for name, part in parts.items()}
            assert sizes["codes"] == 128 * columns * encoding.bits // 8
            assert sizes["scales"] == 128 * columns // group * 2
            assert sizes.get("zeros", 0) == (128 * columns // group) * encoding.stores_zeros
            assert prod(parts["scales"].shape) == 128 * columns // group


@pytest.mark.parametrize("stores_zeros", [False, True])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (4, 128), (8, 128)])
def test_rounding_to_integers_is_within_half_a_step(bits, group, stores_zeros):
    weight = np.random.default_rng(0).standard_normal((7, 200)) + 0.5
    weight[0] = 0.0
    options = {"bits": bits, "group": group, "stores_zeros": stores_zeros}
    found = reference.quantize_weight(weight, **options, rounding=reference.exact)
    assert found.shape == weight.shape
    for row in range(7):
        for start in range(0, 200, group):
            part = weight[row, start : start + group]
            spread = max(part.max(), 0) - min(part.min(), 0)
            step = (
                spread / (2**bits - 1) if stores_zeros else abs(part).max() / (2 ** (bits - 1) - 1)
            )
            error = abs(found[row, start : start + group] - part).max()
            assert error <= 0.51 * step + 1e-3 * abs(part).max() + (stores_zeros * 0.5 * step)
    again = reference.quantize_weight(found, **options, rounding=reference.exact)
    np.testing.assert_allclose(again, found, atol=2e-2 * abs(weight).max())
