"""Builds the documentation: ``make docs`` writes docs/_build/html.

Nothing is fetched. Links, cross-references and the table of contents are checked, and
``make docs`` turns every warning into an error.
"""

import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import mldg_jax  # noqa: E402

project = "mldg_jax"
author = "the authors of mldg_jax"
copyright = f"{author}, Apache-2.0"
release = version = mldg_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
# Pages that are written elsewhere and linked to as soon as they exist.
PENDING = (
    "install",
    "onnx",
    "web-page",
    "hub",
    "arena",
    "stablehlo",
    "extend",
    "file-formats",
)

# Pages and notebooks
myst_heading_anchors = 4  # links to headings, as on a git host
myst_links_external_new_tab = False
nb_execution_mode = "off"  # the committed outputs are those of real runs
nb_ipywidgets_js = {}  # no script from elsewhere

# Docstrings
napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_display_short_literal_types = True
python_maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the signature has them
# The types of annotations: those of other packages could only be resolved with their
# inventories from the network. Roles that a page or docstring writes are checked.
nitpick_ignore_regex = [("py:(class|obj)", ".*")]

html_theme = "sphinx_book_theme"
html_title = "mldg_jax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
}


def _copy_notebooks(app, config):
    """Copies the committed notebooks: Sphinx reads only what is in its own folder."""
    (HERE / "notebooks").mkdir(exist_ok=True)
    for notebook in (HERE.parent / "notebooks").glob("*.ipynb"):
        shutil.copy2(notebook, HERE / "notebooks")


def _relocate(app, name, source):
    """Changes links between docs/ and notebooks/: here notebooks/ is within docs/."""
    if name.startswith("notebooks/"):
        source[0] = source[0].replace("](../", "](../../")
        source[0] = source[0].replace("](../../docs/", "](../")
    else:
        source[0] = source[0].replace("](../notebooks/", "](notebooks/")


def _drop_pending(app, name, source):
    """Drops lines that list or link to a pending page that does not exist yet."""
    for page in PENDING:
        if not (HERE / f"{page}.md").exists():
            line = rf"^({page}|\|.*\]\({page}\.md\).*)\n"
            source[0] = re.sub(line, "", source[0], flags=re.MULTILINE)


def _is_field(app, what, name, member, skip, options):
    """Skips the fields of named tuples; ``Attributes:`` of the class describes them."""
    return True if type(member).__name__ == "_tuplegetter" else None


def _drop_flax_arguments(app, what, name, obj, options, signature, annotation):
    """Drops ``parent`` and ``name``, which Flax adds to the signature of a module."""
    if signature and "_Sentinel" in signature:
        signature = signature[: signature.index("parent: ")].rstrip(", ") + ")"
    return signature, annotation


def setup(app):
    """Connects the functions above."""
    app.connect("config-inited", _copy_notebooks)
    app.connect("source-read", _relocate)
    app.connect("source-read", _drop_pending)
    app.connect("autodoc-skip-member", _is_field)
    app.connect("autodoc-process-signature", _drop_flax_arguments)
