"""What a person may import, and what the README says there is."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ganfeat

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ganfeat"


def test_the_list_is_complete():
    assert len(ganfeat.__all__) == len(set(ganfeat.__all__))  # ruff keeps the order
    assert set(ganfeat.__all__) == set(ganfeat._HOMES)


@pytest.mark.parametrize("name", ganfeat.__all__)
def test_every_name_is_what_its_home_calls_it(name):
    value = getattr(ganfeat, name)
    assert value.__name__ == name
    assert value.__module__.startswith(ganfeat._HOMES[name])
    assert value.__doc__


def test_dir_shows_the_names_and_nothing_else():
    assert set(dir(ganfeat)) == {*ganfeat.__all__, "__version__"}


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'BigGAN'"):
        _ = ganfeat.BigGAN


def test_importing_is_light():
    """No heavy library until a name is used; then all names come."""
    code = (
        "import sys, ganfeat\n"
        "assert ganfeat.__version__ and ganfeat.InputError\n"
        "heavy = {'torch', 'sklearn', 'numpy', 'scipy', 'PIL', 'pyarrow', 'matplotlib', 'cyclopts', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


def test_the_version_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if "version" in project:
        assert project["version"] == ganfeat.__version__
    assert importlib.metadata.version("ganfeat") == ganfeat.__version__
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        assert f"## [{ganfeat.__version__}]" in changelog.read_text() or "## [Unreleased]" in changelog.read_text()


def test_types_are_shipped():
    assert (SOURCE / "py.typed").is_file()


def tree():
    """The names of the README's fenced tree that begins so, as paths: one a line, deeper ones indented."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^```\w*\nsrc/ganfeat/[^\n]*\n(.*?)^```", text, re.M | re.S)
    assert found, "README.md has no fenced tree that begins with the line src/ganfeat/"
    paths, parents = [], {-1: ROOT, 0: SOURCE}
    for line in found[1].splitlines():
        entry = re.match(r"(\s*)(\S+)", line)
        if entry:
            depth = len(entry[1])
            paths.append(parents[max(d for d in parents if d < depth)] / entry[2])
            parents = {d: p for d, p in parents.items() if d < depth} | {depth: paths[-1]}
    return paths


def test_the_readmes_tree_is_true():
    """Every entry is there, and no module or package of the first level is left out."""
    paths = tree()
    assert [str(p.relative_to(ROOT)) for p in paths if not p.exists()] == []
    modules = {p for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    unnamed = modules - set(paths) - {SOURCE / "__init__.py", SOURCE / "__main__.py"}
    assert sorted(p.name for p in unnamed) == []
