"""What a release consists of agrees: version, changelog, citation, extras, presets."""

import configparser
import re
from pathlib import Path

import yaml

import mldg_jax
from mldg_jax.common import presets

ROOT = Path(__file__).parents[1]


def test_one_version_everywhere():
    versions = re.findall(
        r"^## (\d+\.\d+\.\d+)(?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest, date = versions[0]
    assert newest == mldg_jax.__version__ == citation["version"]
    assert date == str(citation["date-released"])
    assert [v for v, _ in versions] == sorted((v for v, _ in versions), reverse=True)
    assert citation["preferred-citation"]["url"].endswith("2502.10838")


def test_the_extra_all_names_extras_that_exclude_nothing():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    named = re.search(r"mldg_jax\[(.+)\]", extras["all"])
    assert named
    included = set(named[1].split(","))
    assert {"whisper", "debspoof", "av", "hub"} <= included <= extras.keys()
    assert not included & {"beam", "tpu", "tpu-plan", "cuda12", "cuda13", "parity"}
    documented = (ROOT / "docs" / "install.md").read_text()
    assert all(f"`{name}`" in documented for name in included)


def test_issue_forms_ask_for_the_versions():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if "body" in form:
            assert {"name", "description"} <= form.keys()
            assert "`mldg --version`" in path.read_text()


def test_the_commands_of_the_installation_page_name_presets_and_targets():
    page = (ROOT / "docs" / "install.md").read_text()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    used = set(re.findall(r"\bmake (?:PYTHON=\S+ )?([a-z][\w-]*)", page))
    used -= {"python3", "python3-venv"}  # apt-get install make python3-venv
    assert {"install", "quick", "package"} <= used <= targets
    assert set(re.findall(r"--config (\w+):", page)) <= set(presets.names())
