"""The plan's bytes against what the process really holds."""

import json
import subprocess
import sys
from pathlib import Path

from sala_compile.runtime.artifact import (
    ElementType,
    Pool,
    PoolPart,
    Value,
    ValueKind,
    dim_of,
    pages_of,
    write_artifact,
)
from tests.support.handmade import fill, tiny_program

PAGE_BYTES = 1 << 20
CONTEXT = 4096

SCRIPT = """
import ctypes, json, re, sys
import sala_compile

def anonymous():
    ctypes.CDLL(None).malloc_trim(0)  # pages that malloc keeps for later; TVM's threads hold 1 MiB
    return int(re.search(r"RssAnon:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024

with sala_compile.load(sys.argv[1]) as small:
    small.logits([1, 2, 3])
before = anonymous()
model = sala_compile.load(sys.argv[2], context=int(sys.argv[3]), poison=False)
loaded = anonymous()
model.generate(list(range(20)), 20, ignore_eos=True)
print(json.dumps([before, loaded, anonymous(), model.info()["memory"]["anonymous_bytes"]]))
model.close()
assert anonymous() - before < 2 << 20, "closing gives the memory back"
"""


def test_anonymous_memory_is_the_plan_within_2_percent(handmade: Path, tmp_path: Path):
    """A model of a gibibyte, in a process of its own."""
    whole = tiny_program()
    pool = Value(
        kind=ValueKind.POOL,
        dtype=ElementType.UINT8,
        shape=(dim_of(pages_of("kv")), PAGE_BYTES),
    )
    part = PoolPart(name="large", row=(), stored={"large": (0,)})
    described = Pool(group="kv", memory="kv_pages", parts=(part,))
    larger = whole.model_copy(
        update={
            "values": whole.values | {"large": pool},
            "pools": whole.pools | {"large": described},
        }
    )
    target = tmp_path / "large.sala"
    write_artifact(target, lambda writer: fill(writer, program=larger))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(handmade), str(target), str(CONTEXT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    before, loaded, generated, planned = json.loads(done.stdout)
    assert planned >= 1 << 30
    assert abs(loaded - before - planned) <= 0.02 * planned
    assert abs(generated - before - planned) <= 0.02 * planned
