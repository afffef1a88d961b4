"""Exports of golden checkpoints, made once, and sessions of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from safetensors.numpy import load_file

from sala_compile.codegen.export_model import MODEL_NAME, export_onnx
from sala_compile.codegen.onnx_export.element import OnnxElement
from sala_compile.codegen.onnx_export.model_session import ModelSession, open_session
from sala_compile.codegen.options import CompileOptions
from sala_compile.codegen.progress import Silent
from sala_compile.passes.assign_precision import Precision
from tests.support.compiled import GOLDEN

Export = Callable[..., Path]


def export(checkpoint: Path, output: Path, element: OnnxElement, **options: Any) -> Path:
    """Export a checkpoint; the model's file."""
    chosen = {"dtype": Precision.FLOAT32, "context": 512} | options
    wanted = CompileOptions(checkpoint=checkpoint, output=output, **chosen)
    wanted.check()
    export_onnx(wanted, element, Silent())
    return output / MODEL_NAME


def require_whole_inference(path: Path) -> None:
    """The strict checker passes, and inference gives the type and the axes of every value."""
    onnx.checker.check_model(path, full_check=True)
    inferred = path.with_name("inferred.onnx")
    onnx.shape_inference.infer_shapes_path(
        path, inferred, check_type=True, strict_mode=True, data_prop=True
    )
    graph = onnx.load(inferred, load_external_data=False).graph
    inferred.unlink()
    kinds = {each.name: each.type.tensor_type for each in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for name in filter(None, node.output):
            assert kinds[name].elem_type, name
            assert kinds[name].HasField("shape"), name


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Give the model's file of a golden checkpoint, by name and element type."""
    folder, made = tmp_path_factory.mktemp("onnx"), dict[tuple[str, OnnxElement], Path]()

    def get(name: str, element: OnnxElement = OnnxElement.FLOAT32) -> Path:
        if (name, element) not in made:
            output = folder / f"{name}-{element}"
            made[name, element] = export(GOLDEN / name, output, element)
        return made[name, element]

    return get


@pytest.fixture(scope="session")
def opened(exported: Export) -> Callable[..., ModelSession]:
    """Give a fresh session of a golden checkpoint's export."""
    runners: dict[tuple[str, OnnxElement], Any] = {}

    def get(name: str, element: OnnxElement = OnnxElement.FLOAT32, batch: int = 1) -> ModelSession:
        if (name, element) not in runners:
            runners[name, element] = open_session(exported(name, element))
        return ModelSession(runners[name, element], batch)

    return get


@pytest.fixture(scope="session")
def expected() -> Callable[[str], dict[str, Any]]:
    """Give the stored outputs of a golden checkpoint."""
    return lambda name: load_file(GOLDEN / name / "golden.safetensors")
