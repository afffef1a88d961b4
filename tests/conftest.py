"""What holds for every test: poisoned memory, interrupts that arrive, and kernels compiled once.

Unwritten runtime memory is made NaN, so that a kernel which reads it shows. A shell that starts a
run in the background has it ignore interrupts; tests that send them need them.
"""

import os
import signal
from importlib.util import find_spec

import pytest

os.environ.setdefault("SALA_POISON", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def shared_objects(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What one process of this run has compiled, the others take."""
    if find_spec("tvm") is None:
        return
    from tests.support.shared_objects import FOLDER, share_objects

    base = tmp_path_factory.getbasetemp()
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    os.environ[FOLDER] = str((base.parent if is_worker else base) / "objects")
    share_objects()
