"""Tests of the package's layout: allowed imports, unique names, file lengths."""

import ast
import collections
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mldg_jax"
MODULES = sorted(PACKAGE.rglob("*.py"))
# A room imports only from the rooms before it.
ROOMS = [
    "common",
    "lora",
    "mldg",
    "objectives",
    "step",
    "metrics",
    "data",
    "models",
    "scoring",
    "exporting",
    "training",
    "experiments",
    "analysis",
    "cli",
]
LINES = 320


def imports(path: Path) -> list[tuple[str, str, str | None]]:
    """Lists what a file imports from the package.

    Args:
      path: of a module.

    Returns:
      ``(module, name, alias)`` of each import.
    """
    imported = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            imported += [(node.module, x.name, x.asname) for x in node.names]
        elif isinstance(node, ast.Import):
            imported += [(x.name, "", x.asname) for x in node.names]
        # what an export contains is imported from its own folder
        relative = getattr(node, "level", 0) and path.parent.name != "hub_folder"
        assert not relative, f"{path} has a relative import"
    return [x for x in imported if x[0].split(".")[0] == "mldg_jax"]


def is_module(module: str, name: str) -> bool:
    """Tells whether ``from module import name`` imports a module.

    Args:
      module: dotted, of the package.
      name: in it.
    """
    path = PACKAGE.parent.joinpath(*module.split("."), name)
    return path.is_dir() or path.with_suffix(".py").exists()


def room(path: Path) -> str:
    """Returns the room of a module.

    Args:
      path: of the module.
    """
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_the_root_is_the_rooms():
    entries = {x.name for x in PACKAGE.iterdir() if x.name != "__pycache__"}
    rooms = set(ROOMS)
    assert {x.removesuffix(".py") for x in entries} - {"py.typed"} == {
        "__init__",
        *rooms,
    }
    assert len(entries - {"py.typed"}) <= 15  # (a marker for type checkers)


@pytest.mark.parametrize("path", MODULES, ids=lambda x: str(x.relative_to(PACKAGE)))
def test_a_room_imports_only_from_those_before_it(path):
    rank = {name: number for number, name in enumerate(ROOMS)}
    own = room(path)
    if own == "__init__":  # imports lazily, for users
        return
    for module, name, _ in imports(path):
        other = f"{module}.{name}".split(".")[1]
        assert rank.get(other, -1) <= rank[own], f"{own} imports {module}.{name}"


def test_the_heart_imports_next_to_nothing():
    allowed_by = {
        "metrics": {"common"},
        "mldg": set(),
        "lora": set(),
        "step": {"mldg", "objectives"},
    }
    for name, allowed in allowed_by.items():
        imported = {
            f"{m}.{n}".split(".")[1] for m, n, _ in imports(PACKAGE / f"{name}.py")
        }
        assert imported <= allowed


def test_no_two_modules_have_one_name():
    names = collections.Counter(x.stem for x in MODULES)
    twice = {name for name, n in names.items() if n > 1}
    assert twice <= {"__init__", "__main__"}


def test_no_two_public_classes_have_one_name():
    classes = collections.defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(path.name)
    assert not {name: files for name, files in classes.items() if len(files) > 1}


def test_no_import_renames_a_module():
    for path in MODULES:
        for module, name, alias in imports(path):
            renamed = alias is not None and (not name or is_module(module, name))
            assert not renamed, f"{path.name}: {module}.{name} as {alias}"


def test_files_are_short():
    long = {
        str(path.relative_to(PACKAGE))
        for path in MODULES
        if path.read_text(encoding="utf-8").count("\n") > LINES
    }
    assert not long


def test_importing_the_package_imports_neither_jax_nor_numpy():
    program = (
        "import sys, mldg_jax; sys.exit(bool({'jax', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_old_names_still_work():
    """Checks the names that users' scripts and config files import."""
    from mldg_jax import (
        UserError,
        load,
        lora,
        metrics,
        mldg,
        models,
        pretrained,
    )

    assert callable(models.build) and callable(load)
    assert callable(pretrained.from_torch) and callable(mldg.mldg)
    assert callable(lora.init) and callable(metrics.detection_metrics)
    assert issubclass(UserError, Exception)


def test_a_renamed_module_is_imported_with_a_word_about_its_new_name():
    with pytest.warns(FutureWarning, match=r"training\.config_files; version 0\.3"):
        from mldg_jax import configs
    assert callable(configs.read)


def test_the_walks_of_contributing_are_there_and_short():
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    walks = text.split("## Three walks")[1].split("## Changing")[0]
    limits = {"waveform": 10, "episode": 11, "trained parameters": 8}
    for (start, limit), walk in zip(
        limits.items(), walks.split("\nFrom ")[1:], strict=True
    ):
        assert start in walk
        walk = re.sub(r"\(or `[\w.]+`\)", "", walk)  # an alternative, not another step
        files = re.findall(r"`([\w/]+\.py)`", walk)
        assert 3 < len(files) <= limit
        assert all((PACKAGE / name).exists() for name in files), files
