"""Detached signatures of artifacts in the OpenSSF model-signing layout, with a local key pair.

A signature is next to NAME.sala as NAME.sala.sig: a Sigstore bundle over the hash of every file.
The library that makes and checks it is in the extra [sign], and is imported only at a request.
"""

import base64
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from sala_compile.runtime.artifact.opened import OpenFile
from sala_compile.runtime.artifact.replace import write_whole
from sala_compile.runtime.common.files import FileRule, shown
from sala_compile.runtime.errors import ArtifactError, RequestError

SUFFIX = ".sig"
MANIFEST = "manifest.json"
_KEY = FileRule(
    what="the key",
    limit=1 << 20,
    expected="an elliptic curve key in PEM, such as openssl ecparam -genkey makes",
)
_SIGNATURE = FileRule(
    what="the signature",
    limit=16 << 20,
    error=ArtifactError,
    expected="the signature that sala-compile --sign wrote next to the artifact",
    fix="copy it too, or get the artifact again from its source",
)
_DIGESTS = re.compile(r": Expected 'Digest\(.*?\)', Actual 'Digest\(.*?\)'")


def signature_of(directory: Path) -> Path:
    """The path of the signature of an artifact."""
    return directory.with_name(directory.name + SUFFIX)


def check_signer(key: Path) -> None:
    """RequestError unless the private `key` could sign: checked before long work."""
    _signer(key)


def sign_artifact(directory: Path, key: Path) -> Path:
    """Sign every file of the artifact with the private `key`; the path of the signature.

    RequestError for a key that cannot sign, ArtifactError if the signature cannot be written.
    """
    signer, place = _signer(key), signature_of(directory)
    with tempfile.TemporaryDirectory(prefix="sala-sign-") as folder:
        made = Path(folder, "signature")
        with _quiet():
            signer.sign(directory, made)
        data = made.read_bytes()
    try:
        write_whole(place, data)
    except OSError as error:
        raise ArtifactError(
            f"the signature cannot be written: {error.strerror}",
            where=shown(place),
            fix="free space or choose another output path, and sign again",
        ) from None
    return place


def require_signature(directory: Path, manifest: bytes, key: Path) -> None:
    """Raise ArtifactError unless the owner of the public `key` signed this artifact.

    `manifest` are the bytes of manifest.json that are used: its hashes bind all other files.
    """
    verifier, place = _verifier(key), signature_of(directory)
    with _SIGNATURE.open(place) as file:
        signature = OpenFile(place, os.dup(file.fileno()))
    try:
        with _quiet():
            verifier.verify(directory, Path(signature.link))
    except Exception as error:  # the library raises what its own libraries raise
        raise _unsigned(directory, place, error) from None
    if _signed_hash(signature) != hashlib.sha256(manifest).hexdigest():
        raise _unsigned(directory, place, ValueError("the manifest was replaced meanwhile"))


def _signer(key: Path) -> Any:
    _KEY.read(key)
    with _library():
        from model_signing.signing import Config
    try:
        config = Config().use_elliptic_key_signer(private_key=key)
    except Exception as error:  # anything that the cryptography library says of a key
        raise _bad_key(key, "private", error) from None
    return config.set_hashing_config(_hashing())


def _verifier(key: Path) -> Any:
    _KEY.read(key)
    with _library():
        from model_signing.verifying import Config
    try:
        config = Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # anything that the cryptography library says of a key
        raise _bad_key(key, "public", error) from None
    return config.set_hashing_config(_hashing())


def _hashing() -> Any:
    """SHA-256 of each file, of all files: none is left out, not even those of git."""
    from model_signing.hashing import Config

    return Config().set_ignored_paths(paths=(), ignore_git_paths=False)


def _signed_hash(signature: OpenFile) -> str | None:
    """The hash of manifest.json in a signature that was verified."""
    try:
        envelope = json.loads(signature.read())["dsseEnvelope"]
        statement = json.loads(base64.b64decode(envelope["payload"]))
        files = statement["predicate"]["resources"]
        return next(each["digest"] for each in files if each["name"] == MANIFEST)
    except (ValueError, KeyError, TypeError, StopIteration):
        return None


@contextmanager
def _library() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise RequestError(
            f"signatures need a library that is not installed: {error.name or error}",
            expected="the package model-signing",
            fix="pip install 'sala-compile[sign]'",
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints out of standard output, which may be one JSON document."""
    with redirect_stdout(sys.stderr):
        yield


def _bad_key(key: Path, kind: str, error: Exception) -> RequestError:
    reason = str(error).strip() or type(error).__name__
    return RequestError(
        f"the {kind} key cannot be used: {reason.splitlines()[0]}",
        where=shown(key),
        expected=f"the {kind} half of an elliptic curve key in PEM, without a password",
        fix="openssl ecparam -name prime256v1 -genkey -noout -out key.pem; "
        "openssl ec -in key.pem -pubout -out key.pub",
    )


def _unsigned(directory: Path, place: Path, error: Exception) -> ArtifactError:
    reason = " ".join(_DIGESTS.sub("", str(error)).split())[:400] or type(error).__name__
    return ArtifactError(
        f"the signature does not hold for this artifact: {reason}",
        where=shown(place),
        expected=f"a signature of {directory.name} as it is, by the owner of the key",
        fix="do not use this artifact; get it and its signature again from their source",
    )
