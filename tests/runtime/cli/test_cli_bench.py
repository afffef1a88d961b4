"""sala-bench on a small compiled model: figures that agree, a trace that is whole, mistakes."""

import json
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from sala_compile.runtime.artifact import PhaseName, ValueKind, open_artifact
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.bench.ceiling_probe import CeilingProbe, require_plausible
from sala_compile.runtime.bench.costs import CostModel, Live
from sala_compile.runtime.cli import bench
from sala_compile.runtime.errors import ArtifactError
from tests.runtime.conftest import Compiled


def _bench(*arguments: Any) -> Result:
    words = [str(argument) for argument in arguments]
    return CliRunner().invoke(bench.command, words, prog_name="sala-bench")


@pytest.fixture(scope="module")
def measured(
    compiled: Compiled, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The document, the trace and the picture of one short run."""
    folder = tmp_path_factory.mktemp("bench")
    result = _bench(
        *(compiled("float32"), "--lengths", "40,100", "--batch", "1,2", "--threads", 1),
        *("--seconds", 0.01, "--json", "--profile", folder / "t.json", "--plot", folder / "p.svg"),
    )
    assert result.exit_code == 0, result.stderr
    trace = json.loads((folder / "t.json").read_text())
    return json.loads(result.stdout), trace, (folder / "p.svg").read_text()


def test_a_probe_tells_what_the_machine_does_just_now(compiled: Compiled):
    probe = CeilingProbe(open_artifact(compiled("float32")), "cpu", 2)
    first, *others = (probe.freedom() for _ in range(4))
    assert first == 1
    assert all(0 < each <= 1 for each in others)
    rates = [probe.rate(Ceiling.READ), *(probe.rate(kind) for kind in probe.kinds)]
    found = probe.result()
    assert [found.bandwidth, *found.arithmetic.values()] == pytest.approx(rates)
    assert found.read.total == 1


def test_every_length_and_batch_has_its_rate(measured):
    document, _, _ = measured
    works = [(row["work"], row["length"], row["batch"]) for row in document["rows"]]
    assert works == [
        *(("prefill", 40, 1), ("decode", 40, 1), ("decode", 40, 2)),
        *(("prefill", 100, 1), ("decode", 100, 1), ("decode", 100, 2)),
    ]
    ceilings = document["ceilings"]
    assert ceilings["peak_operations_per_second"] == ceilings["operations_per_second"]["float32"]
    for row in document["rows"]:
        assert 0 <= row["clean_samples"] <= row["samples"]
        moved = row["bytes_per_token"] * row["tokens_per_second"]
        assert row["bandwidth_fraction"] == pytest.approx(moved / ceilings["read_bytes_per_second"])
        computed = row["operations_per_token"] * row["tokens_per_second"]
        assert row["peak_fraction"] == pytest.approx(
            computed / ceilings["peak_operations_per_second"]
        )


def test_costs_are_those_of_the_weights_and_the_state(compiled: Compiled):
    artifact = open_artifact(compiled("float32"))
    program, sizes = artifact.program, artifact.manifest.model.sizes
    costs = CostModel(artifact, "cpu")
    steps = program.targets["cpu"].phases[PhaseName.DECODE].steps

    def of(family: str, live: Live) -> int:
        found = costs.steps(PhaseName.DECODE, live)
        return sum(c.operations for s, c in zip(steps, found, strict=True) if s.family == family)

    matrices = {
        name
        for step in steps
        if step.family == "linear"
        for name in step.arguments
        if program.values[name].kind is ValueKind.WEIGHT
        and len(artifact.manifest.tensors[name].shape) == 2
    }
    values = sum(prod(artifact.manifest.tensors[name].shape) for name in matrices)
    assert of("linear", Live(3, 1, 7, 8)) == 2 * 3 * values
    heads, size = sizes["num_attention_heads"], sizes["head_dim"]
    layers = sum(step.family == "attend_blocks" for step in steps)
    dense = of("attend_blocks", Live(1, 1, 31, 32))  # two whole pages
    padding = -(-size // 16) * 16 + size  # columns of V are padded, those of K are not
    assert dense == 2 * layers * 32 * heads * padding
    state = sizes["lightning_nh"] * sizes["lightning_head_dim"] ** 2
    assert of("lightning_attention", Live(2, 1, 9, 10)) >= 4 * 2 * state
    budget = [  # once sparse, a longer past costs attention nothing, the choice of blocks more
        (of("attend_blocks", live), of("select_blocks", live))
        for live in (Live(1, 1, 499, 500), Live(1, 1, 999, 1000))
    ]
    assert budget[0][0] == budget[1][0]
    assert 0 < budget[0][1] < budget[1][1]
    assert of("select_blocks", Live(1, 1, 31, 32)) == 0


def test_a_prompt_costs_what_its_chunks_cost(compiled: Compiled):
    costs = CostModel(open_artifact(compiled("float32")), "cpu")
    single = costs.prefill(40, 40)
    assert costs.total(Live(1, 40, 0, 40)) == single
    chunks = costs.prefill(40, 30)
    assert chunks.operations == pytest.approx(single.operations, rel=0.01)
    assert chunks.bytes > single.bytes  # the weights pass once for each chunk


def test_the_trace_has_every_kernel_call(measured, compiled: Compiled):
    document, trace, _ = measured
    events = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    steps = [event for event in events if event["cat"] == "step"]
    calls = [event for event in events if event["cat"] != "step"]
    phases = open_artifact(compiled("float32")).program.targets["cpu"].phases
    decode = [event for event in steps if event["name"].startswith("decode")]
    chunks = [event for event in steps if event["name"].startswith("prefill")]
    assert [event["args"]["tokens"] for event in chunks] == [64, 36]
    counts = {name.value: sum(e["cat"] == name.value for e in calls) for name in phases}
    assert counts == {
        "prefill": len(phases[PhaseName.PREFILL].steps) * len(chunks),
        "decode": len(phases[PhaseName.DECODE].steps) * len(decode),
        "logits": len(phases[PhaseName.LOGITS].steps) * (len(decode) + 1),
    }
    for step in steps:  # the calls of a step lie inside of it, one behind the other
        end = step["ts"] + step["dur"]
        inside = [c for c in calls if step["ts"] <= c["ts"] < end]
        assert inside
        assert max(c["ts"] + c["dur"] for c in inside) <= end + 1
        assert all(a["ts"] + a["dur"] <= b["ts"] for a, b in pairwise(inside))
    layers = {c["args"].get("layer") for c in calls if c["name"].startswith("attend_blocks")}
    assert layers == {0, 2}
    shares: dict[str, float] = {}
    for kernel in document["profile"]["kernels"]:
        shares[kernel["work"]] = shares.get(kernel["work"], 0.0) + kernel["share"]
    assert shares == {"prefill": pytest.approx(1.0), "decode": pytest.approx(1.0)}
    assert all(0 <= part < 1 for part in document["profile"]["outside_of_kernels"].values())


def test_the_picture_shows_every_rate(measured):
    document, _, picture = measured
    words = " ".join(ElementTree.fromstring(picture).itertext())
    for row in document["rows"]:
        assert f"{row['tokens_per_second']:.2f} tokens/s" in words
    assert "decode 100 x 2" in words


def test_tables_are_for_people(compiled: Compiled):
    result = _bench(
        compiled("float32"), "--lengths", 20, "--batch", 1, "--threads", 1, "--seconds", 0.01
    )
    assert result.exit_code == 0, result.stderr
    for words in ("memory is read at", "prefill", "decode", "of peak"):
        assert words in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lengths", "12,many"), "'many' is not a number of tokens"),
        (("--batch", "0"), "batch"),
        (("--plot", "/nowhere/p.svg"), "no directory /nowhere"),
        (("--target", "cpu:none"), "cpu:none"),
        (("--lengths", "1M", "--batch", "64"), "memory"),
    ],
)
def test_mistakes_are_told(compiled: Compiled, arguments: tuple[str, ...], words: str):
    result = _bench(compiled("float32"), *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_ceilings_that_no_core_reaches_are_refused():
    """What 16-bit integers seemed to reach on a processor where the loop had been folded away."""
    require_plausible({Ceiling.INT16: 920e9, Ceiling.FLOAT32: 230e9, Ceiling.READ: 1e15}, 2)
    with pytest.raises(ArtifactError, match="3649 G operations/s"):
        require_plausible({Ceiling.INT16: 3649e9}, 2)


def test_an_artifact_without_ceilings_says_so(handmade: Path):
    result = _bench(handmade, "--lengths", 8, "--batch", 1)
    assert result.exit_code == 2
    assert "lib/cpu-ceilings.so" in result.stderr
    assert "compile again" in result.stderr
