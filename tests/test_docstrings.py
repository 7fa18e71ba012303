"""Every public function says in one short sentence what it does, and names the shapes of its tensors."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 90
ARRAYS = ("torch.Tensor", "np.ndarray")
FILES = sorted(file for room in ("nodes", "tcan_modules", "puppets") for file in (ROOT / room).rglob("*.py"))


def public(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """The public classes and functions of a module, methods too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{node.name}.")


def takes_arrays(node: ast.AST) -> bool:
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return any(kind in ast.unparse(each.annotation) for each in arguments if each.annotation for kind in ARRAYS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_docstrings(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = [("the module", tree), *public(tree)]
    for name, node in found:
        if file.parent.name == "nodes" and isinstance(node, (ast.ClassDef, ast.FunctionDef)) and name.startswith("TCAN"):
            continue  # a node's schema describes it
        text = ast.get_docstring(node) or ""
        first = text.partition("\n")[0]
        assert first, f"{name} has no docstring"
        assert len(first) <= LONGEST, f"{name}: the first line has {len(first)} characters"
        assert first.endswith((".", "!", "?", ":")), f"{name}: the first line is no sentence"
        if isinstance(node, ast.FunctionDef) and takes_arrays(node):
            assert "[" in text, f"{name} names no shape"
