"""The loader up to the driver call: a stub of libcuda that writes launches down."""

from pathlib import Path

import pytest

import sala_compile
from sala_compile.runtime.artifact import open_artifact
from sala_compile.runtime.devices.cuda import opening
from sala_compile.runtime.errors import RequestError
from tests.support import emulated_gpu
from tests.support.handmade_gpu import write_handmade_gpu
from tests.support.stub_driver import build_stub, run_with_stub

RUN = """
import json, sys
import sala_compile

with sala_compile.load(sys.argv[1], device="cuda", batch=2, context=48) as model:
    memory = model.memory
    addresses = {name: buffer.address for name, buffer in memory.buffers.items()}
    with model.sequence() as sequence:
        sequence.append([1, 2, 3])
        sequence.append([4])
        sequence.append([5])
    memory.host("tokens")[:3] = 7, 8, 9
    memory.send_inputs()
    found = [int(value) for value in memory.read_rows("tokens", [0, 2])]
    info = model.info()
print(json.dumps({"addresses": addresses, "found": found, "info": info}))
"""

REFUSALS = """
import json, os, sys
import sala_compile
from sala_compile.runtime.errors import SalaError

def refusal(options, artifact=sys.argv[1], **asked):
    os.environ["STUB_CUDA"] = options
    try:
        with sala_compile.load(artifact, **{"device": "cuda"} | asked) as model:
            with model.sequence() as sequence:
                sequence.append([1, 2])
                os.environ["STUB_CUDA"] = "launch=700"
                try:
                    sequence.append([1, 2])
                except SalaError as error:
                    return type(error).__name__, str(error), sequence.state.broken
    except SalaError as error:
        return type(error).__name__, str(error)

print(json.dumps({
    "fits": refusal(""),
    "no device": refusal("init=100"),
    "hidden": refusal("count=0"),
    "number": refusal("", device="cuda:1"),
    "old driver": refusal("version=11080"),
    "other gpu": refusal("major=12,minor=0"),
    "unlike code": refusal("load=209"),
    "little memory": refusal("total=300000000", context="256M"),
    "memory taken": refusal("grant=2000"),
    "cpu target": refusal("", target="cpu"),
    "ada": refusal("major=8,minor=9", artifact=sys.argv[2]),
    "turing": refusal("major=7,minor=5", artifact=sys.argv[2]),
    "thor": refusal("major=11,minor=0"),
    "ultra": refusal("major=10,minor=3"),
    "spark": refusal("major=12,minor=1"),
    "own spark": refusal("major=12,minor=1", artifact=sys.argv[3]),
    "old assembler": refusal("", artifact=sys.argv[4]),
}))
"""


TWO = """
import ctypes, json, sys, threading
import sala_compile

other = ctypes.CDLL("libcuda.so.1")  # a library that uses a third GPU in the same thread
found = []

def current():
    context = ctypes.c_void_p()
    other.cuCtxGetCurrent(ctypes.byref(context))
    return context.value

def work(models, before):
    other.cuCtxSetCurrent(ctypes.c_void_p(before))
    sequences = [model.sequence() for model in models]
    for turn in range(3):
        for model, sequence in zip(models, sequences):
            sequence.append([1, 2, 3])
            other.cuCtxSetCurrent(ctypes.c_void_p((before or 0) + turn))
            sequence.append([4])
            found.append((current() or 0) - (before or 0) - turn)
    for model in models:
        model.generate([1, 2], 2, ignore_eos=True)
    models[0].close()
    sequences[1].append([1])
    models[1].close()

def load():
    return [sala_compile.load(sys.argv[1], device=f"cuda:{n}", context=48, batch=2) for n in (0, 1)]

for before in (None, 1, 2):
    work(load(), before)
models = load()
thread = threading.Thread(target=work, args=(models, 2))
thread.start()
thread.join()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_stub(tmp_path_factory.mktemp("stub"))


def test_launches_carry_the_addresses_of_the_plan(stub: Path, handmade_gpu: Path):
    run = run_with_stub(stub, RUN, str(handmade_gpu))
    place = run.result["addresses"]
    program = open_artifact(handmade_gpu).program.targets["cuda:sm_90"]
    hidden, logits = (
        [str(place[name]) for name in program.phases[phase].steps[0].arguments]
        for phase in ("prefill", "logits")
    )
    null = ["0", "0"]
    launches = [line.split() for line in run.log if line.startswith(("launch", "captured"))]
    grid = ["1", "1", "1", "32", "1024:"]
    pitch = "12"  # pages of a sequence of 48 tokens
    assert launches == [
        ["launch", "tiny_hidden", *grid, *hidden, pitch, *null],
        ["captured", "tiny_logits", *grid, *logits, *null],
        ["captured", "tiny_hidden", *grid, *hidden, pitch, *null],
    ]
    assert run.log.count("graph") == 5, "two steps of decode, and logits behind every append"
    assert run.result["found"] == [7, 9]


def test_what_is_held_is_what_is_planned(stub: Path, handmade_gpu: Path):
    run = run_with_stub(stub, RUN, str(handmade_gpu))
    memory = run.result["info"]["memory"]
    weights = memory["parts"]["weights"]
    assert memory["total_bytes"] == memory["planned_bytes"]
    freed = sorted(int(line.split()[1]) for line in run.log if line.startswith("free"))
    assert freed == sorted([weights, memory["total_bytes"] - weights])
    assert memory["beside_the_plan"]["graph_bytes"] == 2 * 4096
    assert run.log.count("unload") == 3, "every kernel's code"
    assert run.log[-1] == "release"
    assert run.result["info"]["device"] == "Stub GPU 0 (sm_90), driver for CUDA 13.0"


def test_two_gpus_and_another_library_share_a_thread(stub: Path, handmade_gpu: Path):
    """What belongs to one GPU is refused in the context of another, as a driver does."""
    run = run_with_stub(stub, TWO, str(handmade_gpu), count=3)
    assert run.result == [0] * 6 * 4, "the other library finds its own context"
    taken = [line.split()[1] for line in run.log if line.startswith("allocate")]
    assert taken == ["0", "0", "1", "1"] * 4
    assert run.log.count("release") == 2 * 4


def test_a_driver_that_loads_no_function_when_asked(handmade_gpu: Path, tmp_path: Path):
    """Before CUDA 12.4; what a captured stream launches has to be loaded all the same."""
    older = build_stub(tmp_path, "OLD")
    run = run_with_stub(older, RUN, str(handmade_gpu))
    assert run.log.count("graph") == 5
    assert run.result["found"] == [7, 9]


def test_every_misfit_is_one_clear_error(stub: Path, handmade_gpu: Path, tmp_path: Path):
    ampere = write_handmade_gpu(tmp_path / "ampere.sala", 80)
    geforce = write_handmade_gpu(tmp_path / "geforce.sala", 120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emulated_gpu, "RELEASE", "13.2")
        older = write_handmade_gpu(tmp_path / "older.sala")
    paths = map(str, (handmade_gpu, ampere, geforce, older))
    found = run_with_stub(stub, REFUSALS, *paths).result
    assert found["ada"] == found["fits"], "code for sm_80 runs on sm_89"
    assert found["own spark"] == found["fits"], "code for sm_120 runs on sm_121"
    told = {
        "no device": ("RequestError", "no GPU that it can use: CUDA_ERROR_NO_DEVICE"),
        "hidden": ("RequestError", "there is no GPU number 0"),
        "number": ("RequestError", "there is no GPU number 1"),
        "old driver": ("ArtifactError", "needs a driver for CUDA 13.0, this one is for CUDA 11.8"),
        "other gpu": ("ArtifactError", "code for sm_90, the GPU is Stub GPU 0 (sm_120)"),
        "unlike code": ("ArtifactError", "does not take the code of tiny_hidden: CUDA_ERROR_NO_BI"),
        "little memory": ("MemoryBudgetError", "would fit"),
        "memory taken": ("MemoryBudgetError", "Stub GPU 0 refuses"),
        "fits": ("DriverError", "the GPU failed: CUDA_ERROR_ILLEGAL_ADDRESS"),
        "cpu target": ("RequestError", "the target cpu does not run on the device cuda"),
        "turing": ("ArtifactError", "a GPU that runs code for one of sm_80, sm_86, sm_89, sm_90"),
        "thor": ("ArtifactError", "nothing is compiled for this one"),
        "ultra": ("ArtifactError", "compile again with --target cuda:sm_100"),
        "spark": ("ArtifactError", "compile again with --target cuda:sm_120"),
        "old assembler": ("ArtifactError", "assembled by CUDA 13.2, whose code may overwrite"),
    }
    for case, wanted in told.items():
        name, message, *_ = found[case]
        assert (case, name) == (case, wanted[0])
        assert wanted[1] in message, (case, message)
    assert found["fits"][2], "a sequence whose launch failed is broken"


def test_a_machine_without_a_driver_is_told_so(handmade_gpu: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(opening, "LIBRARY", "libcuda-of-nobody.so.1")
    with pytest.raises(RequestError, match="there is no CUDA driver") as caught:
        sala_compile.load(handmade_gpu, device="cuda")
    assert "--device cpu" in str(caught.value)
    with pytest.raises(RequestError, match="there is no device 'gpu'"):
        sala_compile.load(handmade_gpu, device="gpu")
    with sala_compile.load(handmade_gpu) as model:
        assert model.info()["target"] == "cpu", "unless told, the CPU where it has a target"
