"""Imports point one way: sala_ir <- passes <- codegen; runtime stands alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NAMESPACE = "sala_compile"
PACKAGES = ("sala_ir", "passes", "codegen", "runtime")
# Modules of the runtime that every package may import, so that nothing is defined twice.
LEAVES = (
    "sala_compile.runtime.artifact",
    "sala_compile.runtime.common",
    "sala_compile.runtime.errors",
    "sala_compile.runtime.generation.generation_config",
    "sala_compile.runtime.generation.sampling_options",
    "sala_compile.runtime.plan",
    "sala_compile.runtime.text.tokenizer",
    "sala_compile.runtime.text.tokenizers",
)
MAY_IMPORT = {
    "sala_ir": (f"{NAMESPACE}.sala_ir", *LEAVES),
    "passes": (f"{NAMESPACE}.passes", f"{NAMESPACE}.sala_ir", *LEAVES),
    "codegen": (f"{NAMESPACE}.codegen", f"{NAMESPACE}.passes", f"{NAMESPACE}.sala_ir", *LEAVES),
    "runtime": (f"{NAMESPACE}.runtime",),
}
RUNTIME_LIBRARIES = {
    *("numpy", "tvm_ffi", "safetensors", "tokenizers", "pydantic", "click", "rich", "jinja2"),
}
SALA_IR_LIBRARIES = {
    *("xdsl", "numpy", "array_api_compat", "safetensors", "ml_dtypes", "pydantic", "pydantic_core"),
    "re2",
}


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def _package(module: str) -> str:
    """Which of the four packages a module belongs to, or the library that it is of."""
    parts = module.split(".")
    return parts[1] if parts[0] == NAMESPACE and len(parts) > 1 else parts[0]


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join([NAMESPACE, *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _imports(path: Path) -> Iterator[str]:
    """Absolute names of all modules that `path` imports, inside functions too.

    `from a import b` gives `a.b` where that is a module of this repository, else `a`.
    """
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(path, node)
            yield from (_deepest(base, alias.name) for alias in node.names)


def _base(path: Path, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = _module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])


def _deepest(base: str, name: str) -> str:
    place = ROOT.joinpath(*base.removeprefix(f"{NAMESPACE}.").split("."), name)
    is_module = place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
    return f"{base}.{name}" if is_module else base


def _within(module: str, allowed: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_stands_before_them(package: str):
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in _files(package)
        for module in _imports(path)
        if _package(module) in PACKAGES and not _within(module, MAY_IMPORT[package])
    ]
    assert wrong == []


def test_leaves_import_only_leaves():
    paths = [path for path in _files("runtime") if _within(_module_name(path), LEAVES)]
    assert len(paths) >= 3
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in paths
        for module in _imports(path)
        if _package(module) in PACKAGES and not _within(module, LEAVES)
    ]
    assert wrong == []


EXTRAS = {
    "sala_compile.runtime.artifact.signature": {"model_signing"},
    "sala_compile.runtime.cli.pictures": {"matplotlib"},
    "sala_compile.runtime.cli.arena_picture": {"matplotlib"},
    "sala_compile.runtime.cli.rates_picture": {"matplotlib"},
}
"""What a single module imports when it is asked to, from an extra of the package."""


@pytest.mark.parametrize(
    ("package", "libraries"), [("runtime", RUNTIME_LIBRARIES), ("sala_ir", SALA_IR_LIBRARIES)]
)
def test_only_declared_libraries_are_imported(package: str, libraries: set[str]):
    known = libraries | {NAMESPACE} | set(sys.stdlib_module_names)
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in _files(package)
        for module in _imports(path)
        if module.split(".")[0] not in known | EXTRAS.get(_module_name(path), set())
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_torch_is_imported_nowhere(package: str):
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in _files(package)
        for module in _imports(path)
        if module.split(".")[0] == "torch"
    ]
    assert wrong == []


def test_the_packages_are_free_of_cycles():
    """No module needs, while it is imported, a module that needs it."""
    graph = {
        _module_name(path): {
            module
            for module in _imports_at_top(path)
            if _package(module) in PACKAGES and module != _module_name(path)
        }
        for package in PACKAGES
        for path in _files(package)
        if path.name != "__init__.py"
    }
    done: set[str] = set()
    for start in graph:
        _refuse_cycles(start, graph, (), done)


def _imports_at_top(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (_deepest(_base(path, node), alias.name) for alias in node.names)


def _refuse_cycles(
    module: str, graph: dict[str, set[str]], trail: tuple[str, ...], done: set[str]
) -> None:
    assert module not in trail, " -> ".join([*trail[trail.index(module) :], module])
    if module in done:
        return
    for needed in sorted(graph.get(module, ())):
        _refuse_cycles(needed, graph, (*trail, module), done)
    done.add(module)


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
    paths = [
        path for path in _files("runtime") if _module_name(path) == "sala_compile.runtime.errors"
    ]
    libraries = {module.split(".")[0] for path in paths for module in _imports(path)}
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
