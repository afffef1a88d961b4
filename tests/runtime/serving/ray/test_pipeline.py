"""Batches over the replicas of a cluster; the same lines as of one process."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sala_compile.runtime.serving.batch.__main__ import command
from sala_compile.runtime.serving.batch.batch_output import ANSWERS, ERRORS
from tests.support.ray_cluster import local_ray


def _lines(path: Path) -> dict[str, Any]:
    found = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({each["custom_id"] for each in found}) == len(found)
    return {each["custom_id"]: each for each in found}


@pytest.fixture
def started() -> Iterator[None]:
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    with local_ray():
        yield


def test_a_pipeline_writes_the_lines_of_one_process(started: None, talking: Path, tmp_path: Path):
    body = {"model": "talk", "max_tokens": 6, "temperature": 0}
    lines = [
        {"custom_id": f"r{n}", "method": "POST", "url": "/v1/completions"}
        | {"body": body | {"prompt": f"prompt {'abcdefgh'[n % 8]}", "max_tokens": 2 + n}}
        for n in range(20)
    ]
    lines += [{"custom_id": "bad"}]
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found: list[dict[str, Any]] = []
    for output, more in (("one", []), ("many", ["--replicas", "2", "--cpus", "0.5"])):
        arguments = ["--input", source, "--output", tmp_path / output, "--model", talking]
        arguments += ["--batch", 4, "--threads", 1, "--prefix-cache", "1MiB", *more]
        result = CliRunner().invoke(command, [*map(str, arguments)])
        assert result.exit_code == 0, result.output
        answers, errors = (_lines(tmp_path / output / name) for name in (ANSWERS, ERRORS))
        assert set(errors) == {"bad"}
        found.append({name: each["response"]["body"]["choices"] for name, each in answers.items()})
    assert len(found[0]) == 20
    assert found[0] == found[1]
