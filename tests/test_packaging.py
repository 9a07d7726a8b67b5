"""What is installed, and what importing it brings in."""

import configparser
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import hlstm_tf as hl

ROOT = Path(__file__).parents[1]
OPTIONAL = [
    "espeakng_loader",
    "jiwer",
    "librosa",
    "matplotlib",
    "soundfile",
    "tensorboard",
    "tensorflow_io",
    "tensorflow_model_optimization",
    "tensorflow_serving",
    "tf_keras",
]
# Refuses the optional packages as if they were not installed, then imports the
# core: the import must succeed, and by itself load neither them nor the apps.
IMPORT_THE_CORE = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import hlstm_tf
for name in hlstm_tf.__all__:
    getattr(hlstm_tf, name)
import hlstm_tf._cli.commands
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"apps", *{OPTIONAL!r}}}))
"""


@pytest.fixture(scope="module")
def setup_cfg():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def requirements(lines):
    return {re.split(r"[<>=;\s]", line, maxsplit=1)[0] for line in lines.split("\n") if line}


def test_the_core_imports_where_no_extra_is_installed():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_THE_CORE], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "[]"


def test_no_requirement_of_the_core_is_in_an_extra(setup_cfg):
    core = requirements(setup_cfg["options"]["install_requires"])
    extras = setup_cfg["options.extras_require"]
    assert "tensorflow" in core
    assert set(extras) == {"audio", "vocabulary", "images", "tfmot", "serving", "report", "dev"}
    for extra in extras:
        assert not core & requirements(extras[extra])


def test_every_direct_requirement_is_pinned_by_the_constraints(setup_cfg):
    pinned = {
        line.split("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().split("\n")
        if "==" in line
    }
    direct = requirements(setup_cfg["options"]["install_requires"])
    for lines in setup_cfg["options.extras_require"].values():
        direct |= requirements(lines)
    assert {name.lower().replace("_", "-") for name in direct} - pinned == set()


def test_the_version_is_the_same_everywhere(setup_cfg):
    assert hl.__version__ == setup_cfg["metadata"]["version"]


def test_the_wheel_holds_the_package_and_its_command_but_no_app_or_test(tmp_path):
    source = tmp_path / "source"
    for folder in ("hlstm_tf", "apps", "tests"):
        shutil.copytree(ROOT / folder, source / folder)
    for name in ("setup.cfg", "pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run([*build, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"hlstm_tf"}
    assert "hlstm_tf/py.typed" in names
    packages = {path.parent.name for path in ROOT.glob("hlstm_tf/*/__init__.py")}
    assert {name.split("/")[1] for name in names if name.count("/") == 2} >= packages
