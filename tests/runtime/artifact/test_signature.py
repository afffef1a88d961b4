"""Signatures beside artifacts: whose artifact it is, and that nothing in it was changed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import sala_compile
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.artifact.signature import (
    check_signer,
    require_signature,
    sign_artifact,
    signature_of,
)
from sala_compile.runtime.cli import bench, inspect, run
from sala_compile.runtime.errors import ArtifactError, RequestError, SalaError
from tests.support.handmade import LIBRARY, write_handmade
from tests.support.repaired import edit, put

pytest.importorskip("model_signing", reason="the extra [sign] is not installed")

Keys = Callable[[str], Path]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """A key pair by name, made by openssl as the README says: `name.pem` and `name.pub`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "other"):
        private, public = folder / f"{name}.pem", folder / f"{name}.pub"
        make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private]
        subprocess.run(make, check=True)
        derive = ["openssl", "ec", "-in", private, "-pubout", "-out", public]
        subprocess.run(derive, check=True, capture_output=True)
    return lambda name: folder / name


@pytest.fixture
def signed(handmade: Path, keys: Keys, tmp_path: Path) -> Path:
    """A signed artifact that a test may change."""
    copy = Path(shutil.copytree(handmade, tmp_path / "tiny.sala"))
    assert sign_artifact(copy, keys("own.pem")) == tmp_path / "tiny.sala.sig"
    return copy


def _refused(directory: Path, key: Path, message: str) -> None:
    for call in (sala_compile.load, open_artifact):
        with pytest.raises(SalaError, match=message):
            call(directory, verify_key=key)


def test_a_signed_artifact_loads_under_any_name(signed: Path, keys: Keys) -> None:
    with sala_compile.load(signed, verify_key=str(keys("own.pub"))) as model:
        assert len(model.logits([1, 2])) == 2
    moved = signed.rename(signed.with_name("renamed.sala"))
    _refused(moved, keys("own.pub"), "the signature is not there|cannot be read")
    signature_of(signed).rename(signature_of(moved))
    open_artifact(moved, verify_key=keys("own.pub"))


def test_without_a_key_nobody_asks_for_a_signature(signed: Path) -> None:
    signature_of(signed).write_bytes(b"rubbish")
    with sala_compile.load(signed) as model:
        assert len(model.logits([1])) == 1


def test_another_key_is_refused(signed: Path, keys: Keys) -> None:
    _refused(signed, keys("other.pub"), "does not hold for this artifact: Key mismatch")


@pytest.mark.parametrize("name", ["manifest.json", LIBRARY, "weights-00001.safetensors"])
def test_a_changed_file_is_refused(signed: Path, keys: Keys, name: str) -> None:
    with (signed / name).open("r+b") as file:
        file.seek(30)
        file.write(b"x")
    _refused(signed, keys("own.pub"), f"does not hold for this artifact: .*{name}")


def test_repaired_hashes_do_not_help(signed: Path, keys: Keys) -> None:
    edit(signed, "manifest.json", put("context", 63))
    open_artifact(signed)
    _refused(signed, keys("own.pub"), "does not hold for this artifact: .*manifest.json")


@pytest.mark.parametrize("name", ["extra", ".gitignore", ".git/config", "lib/extra.so"])
def test_an_added_file_is_refused(signed: Path, keys: Keys, name: str) -> None:
    (signed / name).parent.mkdir(exist_ok=True)
    (signed / name).write_bytes(b"x")
    _refused(signed, keys("own.pub"), f"Extra files .*{name}")


def test_a_missing_file_is_refused(signed: Path, keys: Keys) -> None:
    (signed / "golden.json").unlink()
    _refused(signed, keys("own.pub"), "Missing files .*golden.json")


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff", b"{" * 10_000, None])
def test_what_is_no_signature_is_refused(signed: Path, keys: Keys, data: bytes | None) -> None:
    signature_of(signed).unlink()
    if data is not None:
        signature_of(signed).write_bytes(data)
    _refused(signed, keys("own.pub"), "the signature")


def test_the_manifest_that_is_used_is_the_one_that_was_signed(signed: Path, keys: Keys) -> None:
    data = (signed / "manifest.json").read_bytes()
    require_signature(signed, data, keys("own.pub"))
    with pytest.raises(ArtifactError, match="replaced meanwhile"):
        require_signature(signed, data + b" ", keys("own.pub"))


@pytest.mark.parametrize("name", ["own.pub", "none.pem"])
def test_a_key_that_cannot_sign_is_refused_before_the_work(keys: Keys, name: str) -> None:
    with pytest.raises(RequestError, match="key"):
        check_signer(keys(name))


def test_a_key_that_cannot_verify_is_refused(signed: Path, keys: Keys) -> None:
    _refused(signed, keys("own.pem"), "the public key cannot be used")
    _refused(signed, keys("none.pub"), "the key is not there|cannot be read")


def test_signing_changes_no_byte_of_the_artifact(handmade: Path, signed: Path) -> None:
    for path in handmade.rglob("*"):
        if path.is_file():
            assert (signed / path.relative_to(handmade)).read_bytes() == path.read_bytes()


def test_the_commands_take_a_key(signed: Path, keys: Keys, tmp_path: Path) -> None:
    good, bad = str(keys("own.pub")), str(keys("other.pub"))
    for command, options in ((run, ["--ids", "1,2"]), (inspect, ["--json"]), (bench, [])):
        arguments = [str(signed), *options, "--verify-key"]
        refused = CliRunner().invoke(command.command, [*arguments, bad])
        assert refused.exit_code == 2
        assert "Key mismatch" in refused.stderr
        if command is not bench:
            taken = CliRunner().invoke(command.command, [*arguments, good])
            assert taken.exit_code == 0, taken.stderr
            assert command is not inspect or json.loads(taken.stdout)


WITHOUT = """
import sys
sys.modules["model_signing"] = None  # as if it were not installed
import sala_compile
from sala_compile.runtime.errors import RequestError
sala_compile.load(sys.argv[1]).close()
assert not any(name.startswith(("sigstore", "cryptography")) for name in sys.modules)
try:
    sala_compile.load(sys.argv[1], verify_key=sys.argv[2])
except RequestError as error:
    print(error)
"""


def test_without_the_extra_the_error_says_what_to_install(signed: Path, keys: Keys) -> None:
    command = [sys.executable, "-c", WITHOUT, str(signed), str(keys("own.pub"))]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "pip install 'sala-compile[sign]'" in done.stdout


def test_compiling_signs(keys: Keys, tmp_path: Path) -> None:
    from sala_compile.codegen.cli.compile import command
    from tests.codegen.conftest import SMALL
    from tests.support.checkpoints import write_checkpoint

    checkpoint = write_checkpoint(tmp_path / "checkpoint", SMALL)
    sizes = ["--context", "64", "--chunk", "64"]
    arguments = [str(checkpoint), "-o", str(tmp_path / "a.sala"), *sizes, "--sign"]
    for wrong in ([str(keys("own.pub"))], [str(keys("own.pem")), "--dry-run"]):
        assert CliRunner().invoke(command, [*arguments, *wrong]).exit_code == 2
        assert not (tmp_path / "a.sala").exists()
    made = CliRunner().invoke(command, [*arguments, str(keys("own.pem"))])
    assert made.exit_code == 0, made.stderr
    assert "a.sala.sig" in made.output
    open_artifact(tmp_path / "a.sala", verify_key=keys("own.pub"))


def test_another_artifact_has_another_signature(signed: Path, keys: Keys, tmp_path: Path) -> None:
    other = write_handmade(tmp_path / "other.sala", context=32)
    shutil.copy(signature_of(signed), signature_of(other))
    _refused(other, keys("own.pub"), "does not hold for this artifact: .*manifest.json")
