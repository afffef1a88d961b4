"""Artifacts for the tests of the runtime: one made by hand, and small compiled models."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.emulated_gpu import EmulatedDriver, emulated_gpu
from tests.support.handmade import write_handmade

Compiled = Callable[[str], Path]


@pytest.fixture(scope="session")
def handmade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact that no test changes."""
    return write_handmade(tmp_path_factory.mktemp("handmade") / "tiny.sala")


@pytest.fixture(scope="session")
def handmade_gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for a processor and for a GPU that is emulated."""
    from tests.support.handmade_gpu import write_handmade_gpu

    return write_handmade_gpu(tmp_path_factory.mktemp("handmade-gpu") / "tiny.sala")


@pytest.fixture
def drivers() -> Iterator[list[EmulatedDriver]]:
    """The emulated GPUs that a test opens, in order."""
    with emulated_gpu() as opened:
        yield opened


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Give an artifact of one small model by name: `float32`, `bfloat16`, `portable`, `patient`.

    Also `rounded`, of heads of 16 columns: bfloat16, full pages of keys and values in 4 bits.

    Heads of 14 columns in pages of 16 tokens, sparse from 64 tokens on. `portable` is `float32`
    for the instruction set x86-64-v3, `patient` is `float32` and sparse from 192 tokens on.
    """
    from sala_compile.passes.assign_precision import Precision
    from sala_compile.passes.round_pages import PageStorage
    from tests.support.checkpoints import VARIATIONS, write_checkpoint
    from tests.support.compiled import compile_checkpoint

    folder = tmp_path_factory.mktemp("compiled")
    config = VARIATIONS["hidden-unlike-heads"]
    checkpoint = write_checkpoint(folder / "checkpoint", config)
    late = {"sparse_config": config["sparse_config"] | {"dense_len": 192}}
    patient = write_checkpoint(folder / "patient", config | late)

    whole = write_checkpoint(folder / "whole", VARIATIONS["group-1-tied"])

    @cache
    def compile_named(name: str) -> Path:
        narrow = name in ("bfloat16", "rounded")
        dtype = Precision.BFLOAT16 if narrow else Precision.FLOAT32
        kv = PageStorage.INT4 if name == "rounded" else PageStorage.WIDE
        targets = ("cpu:x86-64-v3",) if name == "portable" else ("cpu",)
        path = folder / f"{name}.sala"
        source = {"patient": patient, "rounded": whole}.get(name, checkpoint)
        compile_checkpoint(source, path, dtype=dtype, targets=targets, kv=kv)
        return path

    return compile_named
