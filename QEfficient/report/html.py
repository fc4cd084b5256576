"""A page as HTML."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from QEfficient.report.drawing import Bars
from QEfficient.report.page import Page


def render(page: Page) -> str:
    """The whole page.

    Everything that comes from the model is escaped. The page holds no script and no address, and its content policy
    allows neither.
    """
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"at": lambda value: f"{value:.2f}%", "coordinate": lambda value: f"{value:.2f}"}
    environment.tests["bars"] = lambda drawing: isinstance(drawing, Bars)
    return environment.get_template("report.html").render(page=page)
