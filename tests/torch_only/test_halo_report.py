"""The report of a conversion: its page and pictures, finished or not."""

import re
from pathlib import Path

import pytest

from examples.halo.__main__ import main
from examples.halo.files import read_json
from examples.halo.pipeline import convert
from examples.halo.report.extrapolation import power_law
from examples.halo.report.page import write_report
from examples.halo.report.samples import samples_section
from examples.halo.report.stage_results import curve_values, read_results
from examples.halo.training.stage_training import OutOfTime
from sala_compile.runtime.errors import RequestError
from tests.support.halo_work import silent, small_options

pytest.importorskip("matplotlib")


def test_a_finished_conversion_has_a_page_with_all_parts(tmp_path: Path):
    options = small_options(tmp_path)
    convert(options, silent)
    page = write_report(options.work, lengths=(64, 128), contexts=(96,))
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"\]\((\w+\.png)\)", text)
    assert pictures == ["curves.png", "layers.png", "recall.png"]
    assert all((page.parent / name).read_bytes()[:4] == b"\x89PNG" for name in pictures)
    for stage in ("0-transfer", "1-alignment", "2-selection", "3-distillation", "4-fine-tuning"):
        found = read_json(options.work / stage / "evaluation.json")
        assert f"| {stage}: " in text
        assert f"| {found['divergence']:.3f} |" in text
    measured = read_json(page.parent / "measured.json")
    assert {(row["model"], row["task"], row["length"]) for row in measured["recall"]} == {
        (model, task, length)
        for model in ("teacher", "student")
        for task in ("needle", "multi-key")
        for length in (64, 128)
    }
    assert [row["model"] for row in measured["rates"]] == ["teacher", "student"]
    assert measured["samples"] == [], "this teacher has no tokenizer"
    curves = read_results(options.work).curves.values()
    falls = any(power_law(*curve_values(lines)[1:]) for lines in curves)
    assert ("Extrapolated, not measured" in text) == falls
    assert all(row["bytes"] > 0 and row["tokens_per_second"] > 0 for row in measured["rates"])


def test_an_unfinished_conversion_has_the_parts_that_there_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = small_options(tmp_path, minutes=0.0)
    with pytest.raises(OutOfTime):
        convert(options, silent)
    main(["report", str(options.work)])
    page = Path(capsys.readouterr().out.strip())
    text = page.read_text(encoding="utf-8")
    assert "curves.png" in text
    assert "layers.png" not in text
    assert "| 0-transfer: " in text
    assert "| 1-alignment: " not in text


def test_a_folder_without_a_conversion_is_refused(tmp_path: Path):
    with pytest.raises(RequestError, match="there is no conversion"):
        write_report(tmp_path)


def test_a_curve_goes_on_as_a_power_of_its_tokens():
    tokens = [512.0 * step for step in range(1, 201)]
    law = power_law(tokens, [3.0 * token**-0.25 for token in tokens])
    assert law is not None
    assert (law.factor, law.exponent) == pytest.approx((3.0, 0.25))
    assert law.at(20e6) == pytest.approx(3.0 * 20e6**-0.25)
    assert power_law(tokens, [2.0 + token / 1e9 for token in tokens]) is None
    assert power_law(tokens[:8], [1.0 / token for token in tokens[:8]]) is None
    assert power_law(tokens, [0.0] * len(tokens)) is None


def test_samples_are_shown_as_they_are():
    rows = [
        {"sample": 0, "model": "teacher", "prompt": "A #1\n\nline", "text": "of *stars* | bars"},
        {"sample": 0, "model": "student", "prompt": "A #1\n\nline", "text": "of <b>"},
    ]
    (section,) = samples_section(rows)
    assert section.splitlines()[1:] == [
        "",
        r"> A \#1 line ...",
        "",
        r"- teacher: of \*stars\* \| bars",
        r"- student: of \<b\>",
    ]
    assert samples_section([]) == []
