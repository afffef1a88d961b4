"""The model of `make chat` comes from a package index, whole or not at all."""

from pathlib import Path

import pytest

from examples.chat import smollm2
from sala_compile.runtime.errors import RequestError


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "find_spec", lambda name: None)


def _index(monkeypatch: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in {"CONFIG_FILE": "/dev/null", "FIND_LINKS": "", **variables}.items():
        monkeypatch.setenv(f"PIP_{name}", value)


@pytest.mark.usefixtures("no_package")
@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"NO_INDEX": "1"}, "No matching distribution"),
        ({"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "1"}, "does not answer"),
    ],
)
def test_an_index_without_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str
) -> None:
    _index(monkeypatch, **variables)
    with pytest.raises(RequestError, match=reason) as refused:
        smollm2.fetch(tmp_path)
    assert "PIP_INDEX_URL" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_package")
def test_a_file_that_is_not_whole_is_none(tmp_path: Path) -> None:
    part = tmp_path / smollm2.NAME
    part.write_bytes(b"GGUF")
    assert smollm2.find(tmp_path) is None
    part.open("r+b").truncate(smollm2.BYTES)
    assert smollm2.find(tmp_path) == smollm2.fetch(tmp_path) == part


def test_an_installed_package_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(tmp_path / "package" / "__init__.py")

    (tmp_path / "package").mkdir()
    file = tmp_path / "package" / smollm2.NAME
    file.touch()
    file.open("r+b").truncate(smollm2.BYTES)
    monkeypatch.setattr(smollm2, "find_spec", lambda name: Spec)
    assert smollm2.fetch(tmp_path / "other") == file
