"""Imports point one way: sala_ir <- passes <- codegen; runtime stands alone.

And the same within each package, at every level of its folders.
"""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.imports import (
    NAMESPACE,
    PACKAGES,
    ROOT,
    Arrows,
    Import,
    arrows,
    circles,
    file_of,
    files,
    imports,
    module_name,
)

LEAVES = {
    "sala_compile.runtime.artifact": "the format, which the compiler writes and the runtime reads",
    "sala_compile.runtime.common": "checks, files, units, options: what no package owns",
    "sala_compile.runtime.errors": "every error that a user sees",
    "sala_compile.runtime.generation.generation_config": "checked when an artifact is made",
    "sala_compile.runtime.generation.sampling_options": "of that file",
    "sala_compile.runtime.plan": "bytes before weights, for both",
    "sala_compile.runtime.text.tokenizer": "encodes the calibration text",
    "sala_compile.runtime.text.tokenizers": "of the tokenizer",
}
"""Modules and folders of the runtime that every package may import: nothing is defined twice."""
MOST_LEAVES = 8
"""There is no room for another one: give a leaf up, or find the thing a place in one."""
MAY_IMPORT = {
    "sala_ir": (f"{NAMESPACE}.sala_ir", *LEAVES),
    "passes": (f"{NAMESPACE}.passes", f"{NAMESPACE}.sala_ir", *LEAVES),
    "codegen": (f"{NAMESPACE}.codegen", f"{NAMESPACE}.passes", f"{NAMESPACE}.sala_ir", *LEAVES),
    "runtime": (f"{NAMESPACE}.runtime",),
}
TRIALS = ("sala_compile.codegen.tuning.measurer", "sala_compile.runtime.bench.trials")
"""A process of its own, which loads models and no compiler, begins with this import."""
PARALLEL = re.compile(r"(codegen/kernels|sala_ir/frontends|runtime/devices)/\w+|codegen/targets")
"""Folders of one kernel, family, device or target each. They answer the same questions, in files
of the same names, which need their folder there."""
BY_OP = ("sala_ir/dialect", "sala_ir/reference", "sala_ir/interpreter")
"""Folders with a file for each family of ops."""
KERNEL_CLASSES = {"Spec", "Schedule", "Constants"}
"""What every kernel has, under the same names."""
RUNTIME_LIBRARIES = {
    *("numpy", "tvm_ffi", "tokenizers", "pydantic", "click", "rich", "jinja2"),
}
SALA_IR_LIBRARIES = {
    *("xdsl", "numpy", "array_api_compat", "ml_dtypes", "pydantic", "pydantic_core"),
    *("re2", "gguf"),
}


def _package(module: str) -> str:
    """Which of the four packages a module belongs to, or the library that it is of."""
    parts = module.split(".")
    return parts[1] if parts[0] == NAMESPACE and len(parts) > 1 else parts[0]


def _within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


def _imports_of(package: str) -> list[Import]:
    return [each for file in files(package) for each in imports(file)]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_stands_before_them(package: str):
    wrong = [
        str(each)
        for each in _imports_of(package)
        if _package(each.name) in PACKAGES
        and not _within(each.name, MAY_IMPORT[package])
        and (module_name(each.file), each.name) != TRIALS
    ]
    assert wrong == []


def test_leaves_import_only_leaves():
    paths = [path for path in files("runtime") if _within(module_name(path), tuple(LEAVES))]
    assert len(paths) >= 3
    wrong = [
        str(each)
        for path in paths
        for each in imports(path)
        if _package(each.name) in PACKAGES and not _within(each.name, tuple(LEAVES))
    ]
    assert wrong == []


def test_the_leaves_are_few_and_each_is_needed():
    assert len(LEAVES) <= MOST_LEAVES
    needed = {each.name for package in PACKAGES[:3] for each in _imports_of(package)}
    # A leaf that only other leaves import is needed by them.
    needed |= {
        each.name
        for each in _imports_of("runtime")
        if _within(module_name(each.file), tuple(LEAVES))
    }
    for leaf in LEAVES:
        assert file_of(leaf) is not None, f"{leaf} is no module any more"
        assert any(_within(name, (leaf,)) for name in needed), f"nobody needs {leaf}"


EXTRAS = {
    "sala_compile.runtime.artifact.signature": {"model_signing"},
    "sala_compile.runtime.cli.pictures": {"matplotlib"},
    "sala_compile.runtime.cli.arena_picture": {"matplotlib"},
    "sala_compile.runtime.cli.graph.graph_picture": {"matplotlib"},
    "sala_compile.runtime.cli.rates_picture": {"matplotlib"},
}
"""What a single module imports when it is asked to, from an extra of the package."""
SERVE = "sala_compile.runtime.serving"
SERVE_LIBRARIES = {
    *("anyio", "fastapi", "httptools", "llguidance", "prometheus_client", "sse_starlette"),
    *("starlette", "uvicorn", "pydantic_core"),
}
"""What the server imports: the extra [serve], and what comes with it."""
RAY = "sala_compile.runtime.serving.ray"
RAY_USERS = {"sala_compile.runtime.serving.batch.ray_pipeline"}
RAY_FREE = ("", ".app_options", ".replica_choice", ".held_pages", ".job_parcel", ".event_parcel")
"""What of the package for Ray needs none of it: the builder's options, and the router's core."""


def _extras(module: str) -> set[str]:
    """What `module` may import that the base install does not have."""
    if module in RAY_USERS or (
        _within(module, (RAY,)) and module.removeprefix(RAY) not in RAY_FREE
    ):
        return SERVE_LIBRARIES | {"ray"}
    return SERVE_LIBRARIES if _within(module, (SERVE,)) else EXTRAS.get(module, set())


@pytest.mark.parametrize(
    ("package", "libraries"), [("runtime", RUNTIME_LIBRARIES), ("sala_ir", SALA_IR_LIBRARIES)]
)
def test_only_declared_libraries_are_imported(package: str, libraries: set[str]):
    known = libraries | {NAMESPACE} | set(sys.stdlib_module_names)
    wrong = [
        str(each)
        for each in _imports_of(package)
        if each.name.split(".")[0] not in known | _extras(module_name(each.file))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_torch_is_imported_nowhere(package: str):
    wrong = [str(each) for each in _imports_of(package) if each.name.split(".")[0] == "torch"]
    assert wrong == []


def test_every_folder_can_be_stacked_in_floors():
    """Every import goes down: at the level of files, of folders, of folders of folders.

    Imports in functions and under TYPE_CHECKING count, and modules that are named in a string.
    """
    wrong: list[str] = []
    for folder, entries in arrows().items():
        for group in circles(entries):
            wrong.append(f"{folder}: {', '.join(group)} need each other")
            pairs = [(entry, other) for entry in group for other in group]
            wrong += [f"    {each}" for a, b in pairs for each in entries[a].get(b, ())]
    assert wrong == [], "\n".join(wrong)


def test_circles_are_found():
    assert circles(_drawn("a>b b>c a>c")) == []
    assert circles(_drawn("a>b b>c c>a d>a")) == [["a", "b", "c"]]
    assert circles(_drawn("a>b b>a c>d d>c a>c")) == [["a", "b"], ["c", "d"]]


def _drawn(text: str) -> Arrows:
    graph: Arrows = {}
    for arrow in text.split():
        one, other = arrow.split(">")
        graph.setdefault(one, {})[other] = []
    return graph


def test_imports_are_found_wherever_they_are(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text(
        "import json\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    from sala_compile.runtime import errors\n"
        "HOME = 'sala_compile.runtime.model'\n"
        "WORDS = 'sala_compile.of no module'\n"
        "def work():\n"
        "    from sala_compile.passes.pipeline import pipeline\n"
    )
    names = [each.name for each in imports(file)]
    assert sorted(names) == [
        "json",
        "sala_compile.passes.pipeline",
        "sala_compile.runtime.errors",
        "sala_compile.runtime.model",
        "typing",
    ]


def test_a_class_name_stands_for_one_thing():
    homes: dict[str, list[str]] = defaultdict(list)
    for package in PACKAGES:
        for file in files(package):
            of_kernel = KERNEL_CLASSES if file.parts[1:-2][:1] == ("kernels",) else set()
            for name in _class_names(file) - of_kernel:
                homes[name].append(str(file))
    repeated = {name: found for name, found in homes.items() if len(found) > 1}
    assert repeated == {}


def _class_names(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    names = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
    return {name for name in names if not name.startswith("_")}


def test_a_file_name_says_what_is_in_it():
    """`weights.py` in six folders says nothing in an editor's list of files."""
    homes: dict[str, set[str]] = defaultdict(set)
    for package in PACKAGES:
        for file in files(package):
            room = _room(file)
            if file.name != "__init__.py" and room is not None:
                homes[file.stem].add(room)
    repeated = {name: sorted(found) for name, found in homes.items() if len(found) > 1}
    assert repeated == {}


def _room(file: Path) -> str | None:
    """The folder of a file, one of those by op for all of them; None in a parallel one."""
    folder = str(file.parent)
    if PARALLEL.match(folder):
        return None
    return BY_OP[0] if folder in BY_OP else folder


def test_importing_the_runtime_is_light():
    """`import sala_compile` costs nothing until something is loaded."""
    heavy = ("pydantic", "tvm_ffi", "numpy", "rich", "torch")
    code = f"import sala_compile, sys; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "[]"


def test_errors_need_nothing():
    """A command can report a mistake before anything heavy is imported."""
    file = file_of("sala_compile.runtime.errors")
    assert file is not None
    libraries = {each.name.split(".")[0] for each in imports(file)}
    assert libraries <= set(sys.stdlib_module_names)


def test_kernel_rules_are_read_without_tvm():
    """On a machine with a GPU and Triton the rules, specs and GPU kernels import."""
    code = (
        "import sys; from sala_compile.codegen.kernels.registry import FAMILIES, families\n"
        "found = [family for name in FAMILIES for family in families(name)]\n"
        "print(len(found) > 0, [name for name in sys.modules if name.split('.')[0] == 'tvm'])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert result.stdout.strip() == "True []"


def test_compiling_for_a_cpu_needs_nothing_of_the_other_extras():
    """The kernels of GPUs are imported for GPUs alone, signatures and patterns when asked for."""
    arguments = ["--config", "examples/released-config.json", "--dry-run"]
    code = (
        "import sys\n"
        "for name in ('triton', 'torch', 'model_signing', 'onnx'): sys.modules[name] = None\n"
        "from sala_compile.codegen.cli import sala_compile\n"
        "sala_compile()"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "longest context" in result.stdout


def test_every_helper_of_the_tests_has_its_line():
    folder = ROOT / "tests" / "support"
    text = (folder / "README.md").read_text(encoding="utf-8")
    lines = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    lines += [line.split("|") for line in text.splitlines() if line.startswith("| [`")]
    named = {name.rstrip("/") for line in lines for name in re.findall(r"`([^`]+)`", line[1])}
    entries = {path.name for path in folder.iterdir() if path.name[0] not in "._"}
    assert named == entries - {"README.md"}
    assert all(len(line[2].split()) >= 4 for line in lines), "a line says what a file gives"


def test_no_helper_is_left_over():
    """Each is imported, or is named by one that is."""
    folder = ROOT / "tests" / "support"
    everywhere = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in everywhere}
    for helper in folder.iterdir():
        if helper.suffix in (".py", ".c"):
            module = rf"support(\.| import (\w+, )*){helper.stem}\b"
            pattern = re.compile(module if helper.suffix == ".py" else re.escape(helper.name))
            used = (path for path, text in texts.items() if pattern.search(text) and path != helper)
            assert any(used), f"nothing uses {helper.name}"


def test_tests_do_not_reach_into_models():
    """What they need of a model is public: `model.engine`, `model.memory`, `engine.store`."""
    pattern = re.compile(r"\b(model|engine|loaded|sequence|store|sampler|generation)\._[a-z]\w*")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for match in pattern.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_benchmarks_use_the_helpers_of_tests_and_only_their_own_tests_use_them():
    """tests <- benchmarks <- tests/benchmarks: no helper goes round in a circle."""
    wrong = [
        str(each)
        for path in files("tests")
        if "benchmarks" not in path.parts
        for each in imports(path)
        if each.name.split(".")[0] == "benchmarks"
    ]
    assert wrong == []
