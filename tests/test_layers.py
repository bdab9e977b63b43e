"""Who may import whom, who may import PyTorch, who may print, and how long a file may be."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT, require_module

PACKAGE = ROOT / "src" / "anytag"

#: A unit (a module or folder right below the package) may import from its own layer and from those before it.
LAYERS = (
    {"anytag", "errors", "recognition"},
    {"foundations"},
    {"model", "pictures"},
    {"datasets", "language"},
    {"backends", "nn"},
    {"inference"},
    {"writers"},
    {"library"},
    {"service"},
    {"checkpoints", "evaluation", "export"},
    {"data_engine", "teaching", "training"},
    {"cli"},
    {"__main__"},
)
LAYER_OF = {unit: number for number, units in enumerate(LAYERS) for unit in units}

#: They need PyTorch, so nobody else may depend on them; commands and the data engine may, inside their functions.
ON_TORCH = {"nn", "training", "export", "checkpoints"}

#: Modules of other units that need it too; :func:`anytag.load` imports them when they are asked for.
TORCH_MODULES = {"anytag.backends.torch"}

#: Packages of other units that need it; their own unit and commands reach them inside functions.
TORCH_PACKAGES = ("anytag.evaluation.baselines",)

#: They open what needs PyTorch when it is asked for.
OPENERS = {"anytag.inference.recognizer", "anytag.evaluation.baselines.registry"}


def needs_torch(module: str) -> bool:
    """Whether a module lies where PyTorch is always there; a registry of what can be opened does not."""
    if module in TORCH_MODULES or unit_of(module) in ON_TORCH:
        return True
    return any(of_package(module, name) for name in TORCH_PACKAGES) and not module.endswith((".registry", "baselines"))


#: What a user of the core installation imports.
RUNTIME = sorted(LAYER_OF.keys() - ON_TORCH)

HEAVY = ("torch", "torchvision", "transformers", "onnxruntime", "PIL")


@dataclass(frozen=True)
class Import:
    """One imported name: where, what, and whether it happens when the module is loaded."""

    line: int
    name: str
    at_load: bool


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "anytag"


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def read_imports(source: str) -> list[Import]:
    """Every import of a module; those for type checkers only count as not happening at load."""
    found: list[Import] = []

    def visit(node: ast.AST, at_load: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend(Import(child.lineno, alias.name, at_load) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"line {child.lineno}: relative import"
                # "from anytag.cli import tag" imports a module, "from anytag.errors import UsageError" a name of one.
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    found.append(Import(child.lineno, whole if whole in modules() else str(child.module), at_load))
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                visit(child, at_load and not function and not _is_type_checking(child))

    visit(ast.parse(source), True)
    return found


@cache
def imports_of(module: str) -> list[Import]:
    return read_imports(modules()[module].read_text(encoding="utf-8"))


def of_package(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_after(names: list[str], heavy: tuple[str, ...]) -> str:
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\n"
    return run_python(code + f"print(*[name for name in {heavy!r} if name in sys.modules])")


def test_every_unit_has_a_layer() -> None:
    units = {unit_of(module) for module in modules()}
    assert units == LAYER_OF.keys(), "name every new module or folder in LAYERS, and only what exists"


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_downwards(module: str) -> None:
    own = unit_of(module)
    if own == "anytag":
        return  # Its names are loaded on demand from anywhere; test_public_api holds them.
    for found in imports_of(module):
        if of_package(found.name, "anytag"):
            other = unit_of(found.name)
            assert LAYER_OF[other] <= LAYER_OF[own], f"{module}:{found.line} imports {found.name} from a higher layer"


@pytest.mark.parametrize("module", sorted(modules()))
def test_only_training_parts_depend_on_torch(module: str) -> None:
    own = unit_of(module)
    if needs_torch(module):
        return
    needing = {f"anytag.{unit}" for unit in ON_TORCH} | {m for m in modules() if needs_torch(m)} | {"torch"}
    for found in imports_of(module):
        torch = any(of_package(found.name, name) for name in needing)
        inside_command = (own in ("cli", "data_engine") or module in OPENERS) and not found.at_load
        assert not torch or inside_command or found.name.startswith("anytag.cli"), (
            f"{module}:{found.line} imports {found.name}, which needs PyTorch"
        )


@pytest.mark.parametrize("module", sorted(modules()))
def test_nobody_imports_torchvision_or_transformers(module: str) -> None:
    for found in imports_of(module):
        assert not of_package(found.name, "torchvision"), f"{module}:{found.line}"
        assert not (found.at_load and of_package(found.name, "transformers")), f"{module}:{found.line}"


def room_of(module: str) -> str:
    """The folder of a module, or the module itself right below the package."""
    path = modules()[module]
    return ".".join(path.parent.relative_to(PACKAGE.parent).parts) if path.parent != PACKAGE else module


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """A way along the arrows that ends where it began; empty if there is none."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def arrows(place: Callable[[str], str]) -> dict[str, set[str]]:
    """Which modules, or rooms of modules, import which, at load or later, for type checkers or not.

    The package's own face is left out: it loads its names on demand from anywhere, and whoever imports it wants
    ``__version__``.
    """
    found: dict[str, set[str]] = {}
    for module in modules().keys() - {"anytag"}:
        names = {one.name for one in imports_of(module)} & (modules().keys() - {"anytag"})
        found.setdefault(place(module), set()).update(place(name) for name in names)
    return {start: ends - {start} for start, ends in found.items()}


def test_modules_do_not_import_in_circles() -> None:
    assert circle_in(arrows(lambda module: module)) == []


def test_rooms_do_not_import_in_circles() -> None:
    assert circle_in(arrows(room_of)) == []


@pytest.mark.parametrize("module", sorted(m for m in modules() if unit_of(m) != "cli"))
def test_only_commands_print(module: str) -> None:
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}:{node.lineno} prints; report to the caller instead"


def test_files_are_read_in_one_sitting() -> None:
    files = [path for folder in ("src", "tests", "benchmarks", "recipes") for path in (ROOT / folder).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_importing_the_package_is_quick() -> None:
    # Processor time: what else the machine does at the moment is no matter of ours.
    code = "import time; start = time.process_time(); import anytag; print(time.process_time() - start)"
    assert min(float(run_python(code)) for _ in range(5)) < 0.3


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after(["anytag"], HEAVY) == ""


def test_importing_all_of_the_runtime_leaves_torch_out() -> None:
    names = [module for module in modules() if unit_of(module) in RUNTIME and not needs_torch(module)]
    assert loaded_after(names, ("torch", "torchvision", "transformers")) == ""


def test_importing_everything_leaves_torchvision_out() -> None:
    for package in ("torch", "onnx", "onnxscript"):
        require_module(package)
    assert loaded_after(list(modules()), ("torchvision", "transformers")) == ""


class TestCircles:
    def test_one_over_three_rooms(self) -> None:
        assert set(circle_in({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}})) == {"a", "b", "c"}

    def test_a_deferred_import_is_an_arrow(self) -> None:
        assert "anytag.backends.onnx" in arrows(lambda module: module)["anytag.inference.recognizer"]
        assert not [one for one in imports_of("anytag.inference.recognizer") if "onnx" in one.name and one.at_load]

    def test_rooms_are_folders(self) -> None:
        assert (
            room_of("anytag.language.parsing.rules") == room_of("anytag.language.parsing") == "anytag.language.parsing"
        )
        assert room_of("anytag.errors") == "anytag.errors"


class TestReadImports:
    def test_names_of_modules_and_names_in_modules(self) -> None:
        source = "import os\nfrom anytag import cli\nfrom anytag.errors import UsageError, ModelError"
        assert [found.name for found in read_imports(source)] == ["os", "anytag.cli", "anytag.errors", "anytag.errors"]

    def test_imports_inside_functions_and_for_type_checkers_do_not_happen_at_load(self) -> None:
        source = (
            "from typing import TYPE_CHECKING\n"
            "if TYPE_CHECKING:\n    import torch\n"
            "def f():\n    import onnx\n"
            "try:\n    import numpy\nexcept ImportError:\n    pass\n"
        )
        at_load = {found.name: found.at_load for found in read_imports(source)}
        assert at_load == {"typing": True, "torch": False, "onnx": False, "numpy": True}
