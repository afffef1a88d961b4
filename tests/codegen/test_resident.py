"""A compiled model's plan against what its process really holds, at a gibibyte."""

import json
import subprocess
import sys
from pathlib import Path

from sala_compile.passes.assign_precision import Precision
from tests.support.checkpoints import LIGHTNING, SPARSE, tiny_config, write_checkpoint
from tests.support.compiled import compile_checkpoint

CONTEXT = 1 << 20
WIDE = tiny_config(
    mixers=(SPARSE, LIGHTNING),
    kv_heads=4,
    head_dim=64,
    sparse={"block_size": 64, "kernel_size": 32, "kernel_stride": 16, "window_size": 128},
)
"""A million tokens of it take a gibibyte of bfloat16 keys and values."""

SCRIPT = """
import json, re, sys
import sala_compile

def anonymous():
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

path, context = sys.argv[1], int(sys.argv[2])
with sala_compile.load(path, context=1024) as small:
    small.logits(list(range(100)))
before = anonymous()
with sala_compile.load(path, context=context, sequences=2) as model:
    held = [anonymous() - before]
    with model.sequence() as text:
        text.append(list(range(100)) * 3)
        held.append(anonymous() - before)
        with text.fork() as copy:
            copy.append([1])
    held.append(anonymous() - before)
    print(json.dumps({"held": held, "memory": model.info()["memory"]}))
assert anonymous() - before < 2 << 20, "closing gives the memory back"
"""


def test_a_compiled_model_holds_what_its_plan_says(tmp_path: Path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint", WIDE)
    artifact = tmp_path / "wide.sala"
    compile_checkpoint(checkpoint, artifact, dtype=Precision.BFLOAT16)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(artifact), str(CONTEXT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    memory = found["memory"]
    planned = memory["anonymous_bytes"]
    assert memory["total_bytes"] == memory["planned_bytes"] == sum(memory["parts"].values())
    assert planned >= 1 << 30
    for held in found["held"]:
        assert abs(held - planned) <= 0.02 * planned
