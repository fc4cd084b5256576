"""Sphinx settings."""

from importlib.metadata import version as installed

project = "QEfficient"
author = "the QEfficient contributors"
copyright = "2026, the QEfficient contributors"
release = version = installed("QEfficient")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"QEfficient {version}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]  # a class for an image

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Types of other packages are shown, not linked: the build needs no network, so it has no inventory of theirs.
nitpick_ignore_regex = [
    ("py:.*", r"(?!QEfficient\.).*"),  # also names that a signature shows without their module
    ("py:class", r"QEfficient\..*\.[A-Z]"),  # type variables have no page
]
