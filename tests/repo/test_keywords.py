"""Lists that stand in two places on purpose are held together here."""

import inspect

from QEfficient import QEFFAutoModel, settings
from QEfficient.backends.card_options import COMPILE_KEYWORDS
from tests.repo.source import ROOT


def test_compile_s_own_keywords_are_those_that_a_typo_is_compared_with() -> None:
    parameters = inspect.signature(QEFFAutoModel.compile).parameters.values()
    own = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name != "self"]
    assert tuple(own) == COMPILE_KEYWORDS


def test_the_settings_page_names_every_variable() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert not [setting.name for setting in settings.ALL if f"`{setting.name}`" not in page]
