"""Each pass by its text: files of `before`, `// -----`, `after` (or nothing: it stays as it is)."""

from pathlib import Path

import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import parse_pipeline

from sala_compile.passes.assign_precision import Precision
from sala_compile.passes.pipeline import run_pipeline, sala_pipeline
from sala_compile.passes.support.callbacks import verify_each
from sala_compile.sala_ir.context import parse_module, print_module
from tests.passes.fakes import accept_all

CASES = Path(__file__).parents[1] / "filecheck" / "passes"
PASSES = {type(item).name: type(item) for item in sala_pipeline(Precision.FLOAT32, accept_all)}


def parse_pass(text: str) -> ModulePass:
    (spec,) = parse_pipeline(text)
    return PASSES[spec.name].from_spec(spec)


def parse_case(path: Path) -> tuple[ModulePass, ModuleOp, ModuleOp]:
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    before, _, after = rest.partition("// -----")
    item = parse_pass(first.removeprefix("// run:").strip())
    return item, parse_module(before), parse_module(after if after.strip() else before)


def equal(module: ModuleOp, other: ModuleOp) -> bool:
    """Whether two modules are the same, the types of results included, which xDSL leaves out."""
    types, others = (
        [result.type for op in each.walk() for result in op.results] for each in (module, other)
    )
    return types == others and module.is_structurally_equivalent(other)


@pytest.mark.parametrize("path", sorted(CASES.glob("*/*.mlir")), ids=lambda path: path.stem)
def test_pass_text(path):
    item, module, expected = parse_case(path)
    assert item.name == path.parent.name
    run_pipeline(module, [item], [verify_each])
    assert equal(module, expected), print_module(module)
    again = module.clone()
    run_pipeline(again, [item], [verify_each])
    assert equal(again, expected), "the pass is not idempotent"


def test_every_rewriting_pass_has_texts():
    named = {path.name for path in CASES.iterdir()}
    assert named == set(PASSES) - {"select-kernels", "fuse-norm-calls", "plan-intervals"}
    for name in named:
        stems = [path.stem for path in (CASES / name).glob("*.mlir")]
        assert any(stem.startswith("keeps") for stem in stems), f"{name} has no case to keep"
