"""The apps use the public face of hlstm_tf; import-linter cannot see attributes, so this does."""

import ast
import graphlib
from pathlib import Path

import pytest

import hlstm_tf as hl

ROOT = Path(__file__).parents[1]
APP_FILES = sorted(ROOT.glob("apps/**/*.py"))


def private_uses(source: str) -> list[str]:
    """Returns what `source` uses of hlstm_tf that is not in its `__all__`."""
    tree = ast.parse(source)
    aliases, found = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name == "hlstm_tf":
                    aliases.add(name.asname or "hlstm_tf")
                elif name.name.startswith("hlstm_tf."):
                    found.append(name.name)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "hlstm_tf":
                found += [name.name for name in node.names if name.name not in hl.__all__]
            elif node.module.startswith("hlstm_tf."):
                found.append(node.module)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in aliases
            and node.attr not in [*hl.__all__, "__version__"]
        ):
            found.append(f"{node.value.id}.{node.attr}")
    return found


@pytest.mark.parametrize("path", APP_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_an_app_uses_only_public_names(path):
    assert private_uses(path.read_text()) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import hlstm_tf as hl\nhl.HLSTM(3)", []),
        ("import hlstm_tf as hl\nhl.layers.HLSTM(3)", ["hl.layers"]),
        ("import hlstm_tf.layers", ["hlstm_tf.layers"]),
        ("from hlstm_tf import HLSTM, layers", ["layers"]),
        ("from hlstm_tf.layers.hlstm import HLSTM", ["hlstm_tf.layers.hlstm"]),
        ("def late():\n    import hlstm_tf\n    return hlstm_tf.sparsity", ["hlstm_tf.sparsity"]),
        ("from .model import hlstm_tf", []),
    ],
)
def test_a_private_use_is_found_wherever_it_stands(source, expected):
    assert private_uses(source) == expected


def test_every_public_name_exists_and_is_listed_once():
    assert [name for name in hl.__all__ if not hasattr(hl, name)] == []
    assert len(set(hl.__all__)) == len(hl.__all__)


def imported(path: Path, modules: set[str]) -> set[str]:
    """The modules of this repository that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import name`: the name may be a module of it.
            submodules = {f"{node.module}.{name.name}" for name in node.names} & modules
            found |= submodules or {node.module}
    return found & modules


def import_graph(*folders: str) -> dict[str, set[str]]:
    paths = {}
    for folder in folders:
        for path in sorted(ROOT.glob(f"{folder}/**/*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {name: imported(path, set(paths)) - {name} for name, path in paths.items()}


def test_no_modules_import_each_other_in_a_circle():
    graph = import_graph("hlstm_tf", "apps")
    assert graph["hlstm_tf.layers.hlstm"] >= {"hlstm_tf.layers.hlstm_cell"}
    graphlib.TopologicalSorter(graph).prepare()  # a CycleError names the circle
