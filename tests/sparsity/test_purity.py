import ast
from pathlib import Path

import pytest

import hlstm_tf.sparsity as sparsity

FOLDER = Path(sparsity.__file__).parent
# `edits` changes variables, and is the only one here that knows Keras.
KNOW_KERAS = ("edits",)
PURE = sorted(path for path in FOLDER.glob("*.py") if path.stem not in ("__init__", *KNOW_KERAS))


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_a_module_of_rules_imports_nothing_but_numpy_and_its_neighbors(path):
    allowed = {"__future__", "collections", "dataclasses", "math", "numpy", "re", "typing"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom):
            package, _, name = (node.module or "").rpartition(".")
            is_neighbor = package == "hlstm_tf.sparsity" and name not in KNOW_KERAS
            assert is_neighbor or (node.module or "").split(".")[0] in allowed


def test_every_public_name_exists_and_has_a_docstring():
    assert len(set(sparsity.__all__)) == len(sparsity.__all__)
    for name in sparsity.__all__:
        value = getattr(sparsity, name)
        assert value.__doc__, name
