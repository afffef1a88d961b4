"""A command's process has no torch, unless something other than TVM's FFI imports it."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from sala_compile.runtime.common.hidden_torch import hide_torch
if {hidden}:
    hide_torch()
import tvm_ffi
print("torch" in sys.modules)
import torch
print(torch.ORIGIN)
tvm_ffi.from_dlpack
"""


def test_only_the_ffi_does_not_see_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("ORIGIN = 'ours'\n")
    printed = {
        hidden: subprocess.run(
            [sys.executable, "-c", PROGRAM.format(hidden=hidden)],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        for hidden in (True, False)
    }
    assert printed[True].stdout.split() == ["False", "ours"], printed[True].stderr
    assert printed[False].stdout.split()[:1] == ["True"] or printed[False].returncode
