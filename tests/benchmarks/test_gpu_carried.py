"""What is carried to a machine with a GPU: packed, unpacked, and no more than may travel."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.gpu.carried import (
    ARCHIVE,
    FOLDER,
    MARGIN,
    MOST_BYTES,
    TooLarge,
    pack,
    require_room,
    sizes,
    unpacked,
)
from benchmarks.gpu.prepare import HERE, golden_checkpoints, renew
from benchmarks.gpu.recorded import ROOT


def _prepared(folder: Path) -> Path:
    for name in ("golden-a.sala/lib/code.cubins", "golden-a.safetensors", "sources"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and FOLDER not in path.parts
    }


def test_an_archive_has_what_was_prepared_and_the_same_bytes_again(tmp_path: Path) -> None:
    one, two = _prepared(tmp_path / "one"), _prepared(tmp_path / "two")
    archive = pack(one)
    (one / FOLDER / "results.json").write_text("of an earlier call")
    assert archive == one / FOLDER / ARCHIVE
    assert pack(one).read_bytes() == pack(two).read_bytes()
    with unpacked(one / FOLDER) as place:
        assert _files(place) == _files(one)
    assert not place.exists()
    with unpacked(one) as place:
        assert place == one, "without an archive the folder itself"


def test_all_files_that_travel_are_counted(tmp_path: Path) -> None:
    checkout, carried = tmp_path / "checkout", tmp_path / "carried"
    for name, size in (("code/a", 100), ("code/b", 20), ("left", 3), ("build/much", 4000)):
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * size)
    (checkout / ".gitignore").write_text("build/\n")
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    subprocess.run(["git", "add", "code"], cwd=checkout, check=True)
    (carried / "wheels").mkdir(parents=True)
    (carried / "wheels" / "one.whl").write_bytes(b"x" * 50)
    (carried / ARCHIVE).write_bytes(b"x" * 7)
    assert sizes(carried, checkout) == {
        **{"code": 120, "left": 3, ".gitignore": 7},
        **{str(carried / "wheels"): 50, str(carried / ARCHIVE): 7},
    }


def test_what_is_over_the_limit_is_refused_with_what_is_largest() -> None:
    most = MOST_BYTES - MARGIN
    assert require_room({"tests": most - 10, "small": 10}) == most
    with pytest.raises(TooLarge, match=r"64 MiB less a margin of 2 may: tests 62\.0, small 0\.0"):
        require_room({"small": 11, "tests": most - 10})


def test_only_what_was_made_for_other_sources_is_removed(tmp_path: Path) -> None:
    folder = _prepared(tmp_path)
    renew(folder, "sources")
    assert (folder / "golden-a.sala").exists(), "a preparation that was cut off goes on"
    (folder / "of-somebody").write_text("")
    renew(folder, "others")
    assert sorted(path.name for path in folder.iterdir()) == ["of-somebody", "sources"]
    assert (folder / "sources").read_text() == "others"


def test_every_golden_checkpoint_has_its_expected_values() -> None:
    assert len(golden_checkpoints()) >= 7
    assert all((path / "golden.safetensors").exists() for path in golden_checkpoints())


def test_carried_packages_go_together() -> None:
    """They are installed without what they require: each other's versions, and nothing more."""
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    known = [name for name, pin in pinned.items() if _installed(name) == pin]
    assert {"pydantic", "pydantic-core", "xdsl"} <= set(known), "requirements.txt has other pins"
    for name in known:
        for text in requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                assert need.name in pinned, f"{name} requires {text}, which is not carried"
                assert need.specifier.contains(pinned[need.name]), f"{name} requires {text}"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


COLLECT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import pytest
from benchmarks.gpu.kernel_checks import PATHS
sys.exit(pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", *PATHS]))
"""
ABSENT = ("tvm", "gguf", "re2", "llguidance", "fastapi", "model_signing")
"""Imported names of packages that neither such a machine has nor is carried."""


def test_the_kernels_tests_need_no_package_that_such_a_machine_lacks() -> None:
    command = [sys.executable, "-c", COLLECT, *ABSENT]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
