"""How Sphinx makes the site of this folder: `make docs`. Pages are Markdown (MyST); the API comes from the docstrings.

Nothing is written into this folder: what pages take from the package is put in while they are read (`generated.py`).
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.domains.python import PyXRefRole

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import generated  # noqa: E402

import icd  # noqa: E402

project = "icd"
author = "the icd contributors"
copyright = "the icd contributors, Apache-2.0"
version = release = icd.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"icd {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]

# Docstrings are numpydoc. `name` in them is a link where it is something documented, else code (`name_or_code`).
default_role = "name"
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_default_options = {
    "members": True,
    "ignore-module-all": True,
    "member-order": "bysource",
    "show-inheritance": True,
}
autodoc_typehints = "none"
add_module_names = False
toc_object_entries_show_parents = "hide"


def name_or_code(role, rawtext, text, lineno, inliner, options=None, content=()):
    """What stands in single backticks: Python names may be links, all else (`.npz`, `<id>.png`, `--out`) is code as it is."""
    if re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return PyXRefRole()("py:obj", rawtext, text, lineno, inliner, options or {}, content)
    return [nodes.literal(rawtext, text.replace("\0", "\\"))], []


def setup(app):
    """Know `name_or_code`, and put what is generated into every page."""
    app.add_role("name", name_or_code)

    def expand(app, page, source):
        source[0] = generated.expand(source[0])

    app.connect("source-read", expand)
