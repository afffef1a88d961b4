"""A loaded model among the other things that a process does: imports, forks, its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sala_compile.runtime.devices.cpu import kernel_runtime
from sala_compile.runtime.devices.cpu.kernel_runtime import SPINS

LOADED = """
import os, signal, sys
import sala_compile
signal.alarm(120)  # only a hang gets there
model = sala_compile.load(sys.argv[1], threads=int(sys.argv[2]))
before = model.logits([5, 4, 8])
"""
IMPORTED = """
import sala_compile.codegen.compiler, tvm
assert (model.logits([5, 4, 8]) == before).all()
with sala_compile.load(sys.argv[1], threads=1) as again:
    assert (again.logits([5, 4, 8]) == before).all()
print("both")
"""
FORKED = """
from sala_compile.runtime.errors import SalaError
sys.stdout.flush()
child = os.fork()
if child == 0:
    signal.alarm(60)
    try:
        print(float((model.logits([5, 4, 8]) - before).max()), flush=True)
    except SalaError as error:
        print(error.found, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert (model.logits([5, 4, 8]) == before).all()
"""
SPUN = """
print(os.environ["TVM_THREAD_POOL_SPIN_COUNT"])
"""


def _run(artifact: Path, code: str, threads: int = 2, **variables: str) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TVM_")}
    result = subprocess.run(
        [sys.executable, "-c", LOADED + code, str(artifact), str(threads)],
        capture_output=True,
        text=True,
        env=environment | {"TVM_NUM_THREADS": "2", **variables},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_compiler_is_imported_behind_a_loaded_model(handmade: Path):
    assert _run(handmade, IMPORTED) == "both"


def test_another_runtime_than_the_compilers_refuses_its_import(
    handmade: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The process goes on, and says why."""
    (tmp_path / "tvm" / "lib").mkdir(parents=True)
    (tmp_path / "tvm" / "__init__.py").write_text("raise SystemError('never run')")
    (tmp_path / "tvm" / "lib" / "libtvm_runtime.so").write_bytes(b"of another version")
    code = "try:\n    import tvm\nexcept ImportError as error:\n    print(error)\n"
    again = "assert (model.logits([5, 4, 8]) == before).all()\n"
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    found = _run(handmade, code + again, PYTHONPATH=path)
    assert "with the kernel runtime of another version" in found


def test_a_fork_behind_a_call_on_several_threads_says_so(handmade: Path):
    assert "forked after a call on several threads" in _run(handmade, FORKED, threads=2)


def test_a_fork_behind_a_call_on_one_thread_works(handmade: Path):
    assert _run(handmade, FORKED, threads=1) == "0.0"


def test_workers_do_not_spin_for_long_at_the_end(handmade: Path):
    assert int(SPINS) <= 1000
    assert _run(handmade, SPUN) == SPINS
    assert _run(handmade, SPUN, TVM_THREAD_POOL_SPIN_COUNT="7") == "7"


def test_the_compilers_own_runtime_is_found_without_importing_it():
    place = kernel_runtime._compilers_own()
    assert place is not None
    assert place.name == "libtvm_runtime.so"
