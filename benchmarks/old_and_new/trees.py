"""An old commit, taken out of the repository, and the working tree, each with its process."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

from benchmarks.old_and_new.models import ROOT

SIDE = Path(__file__).with_name("side.py")


def old_tree(commit: str, work: Path) -> Path:
    """The files of `commit` in a folder of their own, taken out once."""
    tree = work / commit / "tree"
    if not tree.exists():
        files = _git("archive", commit)
        fresh = tree.with_name(f"tree.{os.getpid()}")
        with tarfile.open(fileobj=io.BytesIO(files)) as archive:
            archive.extractall(fresh, filter="data")
        fresh.replace(tree)
    return tree


def commit_hash(name: str) -> str:
    """The short hash of a commit."""
    return _git("rev-parse", "--short", f"{name}^{{commit}}").decode().strip()


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


class Side:
    """The process of a tree: the same interpreter and libraries, the tree's own packages."""

    def __init__(self, tree: Path, folder: Path, *, threads: int = 1, poison: bool = False) -> None:
        """Start it in a folder that has none of the packages."""
        folder.mkdir(parents=True, exist_ok=True)
        counts = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "TVM")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(SIDE)],
            cwd=folder,
            env=os.environ | counts | {"PYTHONPATH": str(tree), "SALA_POISON": str(int(poison))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._tree = tree

    def __call__(self, action: str, **arguments: Any) -> Any:
        """Let it do something; its answer."""
        send, receive = self._process.stdin, self._process.stdout
        assert send is not None, "it is a pipe"
        assert receive is not None, "it is a pipe"
        send.write(json.dumps({"do": action, "with": arguments}) + "\n")
        send.flush()
        line = receive.readline()
        if not line:
            raise SideError(f"{action} failed in {self._tree}; its error is above")
        answer = json.loads(line)
        if "error" in answer:
            raise SideError(f"{action} in {self._tree}: {answer['error']}")
        return answer.get("value")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class SideError(Exception):
    """The process of a tree did not do what it was asked for."""
