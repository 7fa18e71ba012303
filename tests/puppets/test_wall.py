"""The puppets import the engine; the engine does not import them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def imported(source: str) -> set[str]:
    """The modules that code imports, at its top or in functions; relative ones begin with a dot."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found.update({module, *(f"{module}.{alias.name}" for alias in node.names)})
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            found.update(argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
    return found


def imports_puppets(source: str) -> bool:
    return any("puppets" in name.split(".") for name in imported(source))


@pytest.mark.parametrize(
    "source",
    [
        "import puppets",
        "def f():\n    from puppets.clips import make_clip",
        "from ..puppets import clips",
        "from .. import puppets",
        "import importlib\nimportlib.import_module('puppets.clips')",
    ],
)
def test_every_kind_of_import_is_found(source):
    assert imports_puppets(source)
    assert not imports_puppets(source.replace("puppets", "training"))


@pytest.mark.parametrize("folder", ["tcan_modules", "nodes"])
def test_neither_engine_nor_nodes_import_the_puppets(folder):
    files = [ROOT / "__init__.py", *sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 5
    assert not [file.relative_to(ROOT).as_posix() for file in files if imports_puppets(file.read_text(encoding="utf-8"))]
