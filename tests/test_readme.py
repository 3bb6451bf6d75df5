"""Tests that the README's code matches the package and runs."""

import re
import textwrap
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def test_the_equations_code_is_the_modules():
    (block,) = [b for b in BLOCKS if "∇F(φ)" in b]
    source = (ROOT / "mldg_jax" / "mldg.py").read_text()
    assert textwrap.indent(block, " " * 8) in source


def test_the_split_works_on_a_model_that_is_not_ours():
    (block,) = [b for b in BLOCKS if "nn.Sequential" in b]
    names: dict = {}
    exec(compile(block, "README.md", "exec"), names)
    shapes = jax.tree.map(lambda x: x.shape, names["meta_gradient"])
    assert shapes["layers_0"] == {"lora_a": (16, 4), "lora_b": (4, 64)}
    assert float(abs(names["meta_gradient"]["layers_2"]["lora_b"]).max()) > 0


@pytest.mark.parametrize(
    "file", re.findall(r"\]\(((?!http|#)[^)]+)\)", (ROOT / "README.md").read_text())
)
def test_links_lead_somewhere(file):
    assert (ROOT / file).exists()
