"""The mixers' record: costs and limits of the cases, and calls of their kernels."""

from typing import Any

import numpy as np
import pytest

from benchmarks.mixer_cases import PAST, Case, call, mixers
from benchmarks.mixers import PEER, markdown, row_of
from sala_compile.codegen.targets.cpu import CpuTarget
from sala_compile.codegen.write.cpu_library import compile_functions
from sala_compile.runtime.artifact.ceilings import Ceiling
from sala_compile.runtime.common.timing import Sample
from tests.benchmarks.report_text import MACHINE, cells

RATES = {Ceiling.READ: 5e10, Ceiling.FLOAT32: 5e11, Ceiling.BFLOAT16: 1e12}


def mixer(text: str) -> Any:
    return next(each for each in mixers() if text in each.name)


def row(case: Case) -> dict[str, Any]:
    samples = {case.name: [Sample(2.0, 0.0)], PEER + case.name: [Sample(6.0, 0.0)]}
    return row_of(case, samples, RATES)


def test_costs_of_a_generated_token() -> None:
    delta, latent = Case(mixer("gated delta"), 1), Case(mixer("MiniCPM3"), 1)
    read_and_written = 2 * 4 * 32 * 128 * 128
    assert delta.bytes - read_and_written == 4 * (2 * 2048 + 4096 + 32 + 32 + 4096)
    assert latent.operations == (PAST + 1) * 40 * (4 * 256 + 2 * 32)
    assert latent.bytes > (PAST + 1) * 288 * 2
    read = Case(mixer("MiniCPM3"), 512)
    assert read.operations == 512 * 513 // 2 * 40 * (4 * 256 + 2 * 32)


def test_costs_of_what_is_chosen() -> None:
    indexer, latent = mixer("indexer"), mixer("selected latent")
    assert Case(indexer, 1).operations == (PAST + 1) * 2 * 64 * 128
    assert Case(indexer, 1).bytes == 4 * indexer.columns + (PAST + 1) * 128 * 2
    for tokens in (1, latent.chunk):
        case = Case(latent, tokens)
        assert case.operations == tokens * 2048 * 128 * (4 * 512 + 2 * 64)
        rows = min(PAST + tokens, tokens * 2048)
        assert case.bytes == 4 * tokens * latent.columns + rows * 576 * 2


def test_the_limit_is_the_larger_time() -> None:
    found = row(Case(mixer("gated delta"), 1))
    assert found["limit"] == "bytes"
    assert found["of_limit"] == pytest.approx(Case(mixer("gated delta"), 1).bytes / 5e10 / 2.0)
    found = row(Case(mixer("MiniCPM3"), 512))
    assert found["limit"] == "operations"
    assert found["of_limit"] == pytest.approx(Case(mixer("MiniCPM3"), 512).operations / 1e12 / 2.0)


def test_the_table_has_the_ratio_to_torch() -> None:
    case = Case(mixer("Kimi delta"), 1)
    ceilings = {kind.value: rate for kind, rate in RATES.items()}
    text = markdown(MACHINE | {"ceilings": ceilings, "rows": [row(case)]})
    (line,) = cells(text, f"| {case.name} |")
    assert line[-2:] == ["3.0", "1/1"]


def test_a_kernel_is_called_with_one_state_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(mixer("convolution"), 1)
    monkeypatch.setattr("benchmarks.mixer_cases.STATES", 3 * case.mixer.state)
    target, spec = CpuTarget.host(), case.mixer.spec
    module = compile_functions({spec.symbol: case.mixer.family.build(spec, target)}, target)
    used: list[int] = []

    def seen(*arrays: Any) -> None:
        module[spec.symbol](*arrays)
        used.append(int(np.from_dlpack(arrays[3])[0]))  # slots

    work = call(case, {spec.symbol: seen}, target, 1)
    for _ in range(4):
        work()
    assert used == [1, 2, 0, 1]


def test_costs_of_indexed_attention_and_its_kernel() -> None:
    """A generated token reads its budget whatever its past is, a chunk no more than it has."""
    chosen = Case(mixer("indexed attention"), 1)
    assert chosen.operations == 2048 * 4 * 24 * 256
    assert chosen.bytes == 2048 * 2 * 2 * 256 * 2 + 4 * (5 * 24 * 256 // 2)
    read = Case(mixer("indexed attention"), 512)
    assert read.operations == 512 * 513 // 2 * 4 * 24 * 256
    target, spec = CpuTarget.host(), chosen.mixer.spec
    module = compile_functions({spec.symbol: chosen.mixer.family.build(spec, target)}, target)
    call(Case(chosen.mixer, 3), module, target, 1)()


def test_what_is_chosen_for_a_kernel_is_of_the_past() -> None:
    latent = mixer("selected latent")
    seen: list[np.ndarray] = []

    def kernel(*arrays: Any) -> None:
        seen.extend(np.from_dlpack(each) for each in arrays)

    call(Case(latent, 3), {latent.spec.symbol: kernel}, CpuTarget.host(), 1)()
    (chosen,) = (each for each in seen if each.shape == (3, 2048))
    own = mixer("indexer")
    call(Case(own, 3), {own.spec.symbol: lambda *arrays: None}, CpuTarget.host(), 1)()
    assert (np.diff(chosen) > 0).all()
    assert ((chosen >= 0) & (chosen <= PAST + np.arange(3)[:, None])).all()
