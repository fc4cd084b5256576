"""The backend of docs/how-to/add_a_backend.md passes the suite. That it compiles and runs is in test_code_blocks.py."""

from tests.backends.conformance import BackendConformance as Suite
from tests.repo import backend_guide

backend_guide.install()
exec(backend_guide.SUITE)  # the page's own test class, which pytest collects here


def test_the_class_of_the_page_is_collected() -> None:
    assert [name for name, value in globals().items() if isinstance(value, type) and issubclass(value, Suite)] == [
        "Suite",
        "BackendConformance",
        "TestReference",
    ]
