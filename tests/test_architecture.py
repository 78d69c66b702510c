"""The limits between packages: every import statement is checked against what may be imported."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

GROUND = {"errors", "files"}
RECIPES = GROUND | {"configuration", "pipeline", "recipe", "stage"}
TENSORS = {"acquisition", "augment", "network_input", "views"}

MAY_IMPORT: dict[str, set[str]] = {
    # of thyroid, beside itself
    "errors": set(),
    "bounds": {"errors"},
    "files": {"errors"},
    "progress": set(),
    "configuration": {"errors"},
    "recipe": {"bounds", "configuration", "errors"},
    "space": {"errors", "recipe", "tune_spaces"},
    "stage": {"configuration", "errors", "recipe"},
    "stage_config": {"configuration", "recipe"},
    "segments": {"errors", "recipe", "stage_config"},
    "pipeline": {"errors", "generators", "recipe", "segments", "stage", "stage_config"},
    "machine": {"recipe"},
    "quantities": {"bounds", "errors"},
    "storage": {"errors", "files"},
    "execution": GROUND | {"data", "machine", "progress", "recipe", "stage", "storage"},
    "acquisition": set(),
    "network_input": {"errors"},
    "augment": {"network_input", "recipe"},
    "views": {"network_input", "recipe"},
    "data": GROUND | {"__version__", "bounds", "machine", "progress", "recipe"},
    "phantom": GROUND | {"__version__", "bounds", "data"},
    "networks": {"acquisition", "errors", "recipe"},
    "generators": GROUND | {"acquisition", "recipe"},
    "run_files": GROUND | {"configuration", "evaluate", "recipe"},
    "evaluate": set(),
    "stages": GROUND
    | TENSORS
    | {"configuration", "data", "evaluate", "generators", "machine", "networks", "recipe"}
    | {"phantom", "run_files", "stage_config"},
    "precision": {"machine", "networks", "recipe"},
    "model": GROUND
    | {"__version__", "configuration", "data", "evaluate", "network_input", "networks"}
    | {"recipe", "run_files", "views"},
    "runs": RECIPES
    | {
        "__version__",
        "bounds",
        "data",
        "evaluate",
        "execution",
        "machine",
        "network_input",
        "networks",
    }
    | {"generators", "phantom", "progress", "run_files", "space", "stages", "storage"},
    "tuning": RECIPES
    | {
        "bounds",
        "data",
        "evaluate",
        "execution",
        "progress",
        "quantities",
        "run_files",
        "runs",
        "space",
    }
    | {"storage"},
    "reports": GROUND | {"configuration", "data", "evaluate", "model", "recipe", "run_files"},
    "tune_spaces": {"networks", "pipeline", "recipe"},
}
"""Parts that are missing here (`cli`, `commands`, `workflows`) may import everything."""

HEAVY: dict[str, set[str]] = {
    "ray": {"execution", "tuning"},
    "torch": {
        *("acquisition", "augment", "generators", "network_input", "networks", "stages"),
        *("machine", "views", "workflows"),
        *("evaluate.occlusion", "evaluate.generator_quality"),
        *("model.ensemble", "model.model_folder", "model.onnx_graph", "model.predict_files"),
        *("model.doubtful_images", "model.scintigram_gate", "model.make_model"),
        "runs.preflight",
    },
    "optuna": {"tuning", "runs", "space", "tune_spaces", "reports"},
    "jinja2": {"reports"},
    "tyro": {"cli", "commands"},
    "obstore": {"storage"},
    "pydicom": {"data", "phantom"},
}
"""Library -> who may import it: a part of the tree, or one file of it."""


def imports() -> dict[str, dict[str, set[str]]]:
    """Part of the tree -> what it imports -> files that do."""
    found: dict[str, dict[str, set[str]]] = {}
    for folder in ("thyroid", "reports", "tune_spaces"):
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.relative_to(ROOT).with_suffix("").parts
            part = inside[1] if folder == "thyroid" else folder
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for name in named(node):
                    words = name.split(".")
                    if words[0] == "thyroid" and len(words) == 1:
                        continue  # a path of the package's own
                    what = words[1] if words[0] == "thyroid" else words[0]
                    if what != part:
                        found.setdefault(part, {}).setdefault(what, set()).add(str(path))
    return found


def named(node: ast.AST, package: str = "thyroid") -> list[str]:
    """Modules that an import statement names; those of a package one by one."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        if node.module == package:
            return [f"{package}.{alias.name}" for alias in node.names]
        return [node.module]
    return []


FOUND = imports()
OURS = set(FOUND) | set(MAY_IMPORT) | {"__version__"}


@pytest.mark.parametrize("part", sorted(MAY_IMPORT))
def test_a_part_imports_what_it_may(part: str) -> None:
    beyond = {
        what: files
        for what, files in FOUND.get(part, {}).items()
        if what in OURS and what not in MAY_IMPORT[part]
    }
    assert not beyond


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_a_library_is_imported_where_it_may_be(library: str) -> None:
    users = {
        part if part in HEAVY[library] else f"{part}.{Path(file).stem}"
        for part, whats in FOUND.items()
        for file in whats.get(library, ())
    }
    assert users == HEAVY[library]


def test_what_ray_keeps_private_is_imported_in_one_place() -> None:
    """tests/execution/test_connection.py checks that it still exists."""
    private = {
        (path.name, name)
        for path in (ROOT / "thyroid").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in named(node, "ray")
        if name.startswith("ray.") and "._" in name
    }
    assert private == {("private_ray.py", "ray._private")}


def test_nothing_is_forgotten_and_no_rule_is_empty() -> None:
    """A new module at the top needs a rule, and a rule that nothing uses must be removed."""
    there = {path.stem for path in (ROOT / "thyroid").iterdir() if not path.name.startswith("_")}
    assert there - {"py", "commands", "cli", "workflows"} <= set(MAY_IMPORT)
    assert set(MAY_IMPORT) - {"reports", "tune_spaces"} <= there
    unused = {part: may - set(FOUND.get(part, {})) for part, may in MAY_IMPORT.items()}
    assert not {part: more for part, more in unused.items() if more}


def test_no_two_parts_import_each_other() -> None:
    reached: dict[str, set[str]] = {}

    def beyond(part: str, path: tuple[str, ...]) -> set[str]:
        assert part not in path, f"a circle: {' -> '.join((*path, part))}"
        if part not in reached:
            direct = MAY_IMPORT.get(part, set())
            reached[part] = direct.union(*(beyond(each, (*path, part)) for each in direct))
        return reached[part]

    for part in MAY_IMPORT:
        beyond(part, ())


class RuntimeImports(ast.NodeVisitor):
    """Collects the modules that a file of a package imports, but for type checking."""

    def __init__(self, path: Path, package: str) -> None:
        self.found: set[str] = set()
        self._package = package
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> None:
        self.found.update(named(node, self._package))
        super().generic_visit(node)


def test_no_two_modules_of_a_package_import_each_other() -> None:
    """Imports within a function count, too."""
    for package in {path.parent for path in (ROOT / "thyroid").rglob("*/__init__.py")}:
        prefix = ".".join(package.relative_to(ROOT).parts)
        imported = {
            f"{prefix}.{path.stem}": RuntimeImports(path, prefix).found
            for path in package.glob("*.py")
        }
        TopologicalSorter({m: f & set(imported) - {m} for m, f in imported.items()}).prepare()


PACKAGES = [*(ROOT / "thyroid").glob("*/__init__.py")]
PACKAGES += [ROOT / "reports" / "__init__.py", ROOT / "tune_spaces" / "__init__.py"]


@pytest.mark.parametrize("package", PACKAGES, ids=[path.parent.name for path in PACKAGES])
def test_each_package_begins_with_what_lives_there_and_what_may_not_be_imported(
    package: Path,
) -> None:
    text = ast.get_docstring(ast.parse(package.read_text(encoding="utf-8")))
    assert text is not None
    assert re.search(r"\bimport(s|ed)?\b", text, re.I)
    assert len(text.splitlines()) >= 3


def test_the_map_names_every_package_and_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    there = [path for path in (ROOT / "thyroid").iterdir() if not path.name.startswith("_")]
    names = [f"{p.name}/" if p.is_dir() else p.name for p in there if p.name != "py.typed"]
    assert not [name for name in names if f"`{name}`" not in text]


@pytest.mark.parametrize("folder", ["thyroid", "reports", "tune_spaces", "tests"])
def test_docstrings_begin_with_a_subject_or_a_verb(folder: str) -> None:
    """`What`, `Whether` and `Of` make a reader guess the sentence."""
    puzzles = []
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    if re.match(r"\s*(What|Whether|Of)\b", text):
                        puzzles.append(f"{path}:{node.lineno}")
    assert not puzzles
