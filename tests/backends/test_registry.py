"""Backends by name, and what ``auto`` takes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from QEfficient.backends import registry
from QEfficient.backends.base import Availability
from QEfficient.errors import BackendUnavailableError, MissingExtraError, UnknownBackendError

HERE, ABSENT = Availability(True), Availability(False, "no card in this machine", "install one")


class Card:
    name = "qaic"
    compute = ("fp16",)
    compiles = runs = HERE

    def can_compile(self) -> Availability:
        return self.compiles

    def can_run(self) -> Availability:
        return self.runs


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    for function in (registry.get, registry._log_once):
        function.cache_clear()
    yield
    for function in (registry.get, registry._log_once):
        function.cache_clear()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> type[Card]:
    module = ModuleType("card_for_tests")
    kind = type("OwnCard", (Card,), {})
    module.OwnCard = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "card_for_tests", module)
    enter(monkeypatch, "qaic", "card_for_tests:OwnCard")
    return kind


def enter(monkeypatch: pytest.MonkeyPatch, name: str, path: str) -> None:
    entry = registry.BackendEntry(path, "pip install something")
    monkeypatch.setattr(registry, "BACKENDS", {**registry.BACKENDS, name: entry})


@pytest.mark.parametrize("name", registry.names())
def test_every_entry_imports_and_has_its_own_name(name: str) -> None:
    backend = registry.get(name)
    assert backend.name == name
    assert registry.get(name) is backend


@pytest.mark.parametrize(("name", "meant"), [("onnxruntim", "onnxruntime"), ("qiac", "qaic"), ("Auto", "auto")])
def test_an_unknown_name(name: str, meant: str) -> None:
    with pytest.raises(UnknownBackendError, match=f"Did you mean '{meant}'") as caught:
        registry.choose(name)
    assert caught.value.allowed == "'auto', 'onnxruntime', 'openvino', 'emulator', 'qaic'"


def test_a_backend_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "mine", "no_such_package_anywhere:Backend")
    with pytest.raises(MissingExtraError, match="pip install something"):
        registry.get("mine")


def test_a_backend_that_fails_to_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken_for_tests.py").write_text("raise ImportError('libsomething.so: wrong ELF class')")
    monkeypatch.syspath_prepend(str(tmp_path))
    enter(monkeypatch, "mine", "broken_for_tests:Backend")
    with pytest.raises(BackendUnavailableError, match="wrong ELF class"):
        registry.get("mine")


def test_auto_without_a_card() -> None:
    backend, reason = registry.choose()
    assert backend.name == "onnxruntime"
    assert reason.startswith("auto: no card (") and len(reason) > 20


def test_auto_takes_the_host_that_computes_as_asked() -> None:
    backend, reason = registry.choose("auto", "bf16")
    assert backend.name == "openvino" and reason.endswith("openvino computes in bf16")
    assert registry.choose("auto", "fp32")[0].name == "onnxruntime"
    assert registry.choose("onnxruntime", "bf16")[0].name == "onnxruntime"  # which refuses it


def test_auto_with_a_card_that_does_not_compute_as_asked(card: type[Card]) -> None:
    backend, reason = registry.choose("auto", "bf16")
    assert backend.name == "openvino" and "the card does not compute in bf16" in reason
    assert registry.choose("auto", "fp16")[0].name == "qaic"


def test_auto_with_a_card(card: type[Card]) -> None:
    backend, reason = registry.choose("auto")
    assert backend.name == "qaic" and reason.startswith("auto")


@pytest.mark.parametrize("missing", ["compiles", "runs"])
def test_auto_needs_compiler_and_device(card: type[Card], monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(card, missing, ABSENT)
    backend, reason = registry.choose()
    assert backend.name == "onnxruntime" and ABSENT.reason in reason


def test_auto_when_the_card_backend_fails_to_import(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, "qaic", "no_such_package_anywhere:Backend")
    backend, reason = registry.choose()
    assert backend.name == "onnxruntime" and "no_such_package_anywhere" in reason


def test_a_name_is_taken_as_it_is(card: type[Card], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card, "runs", ABSENT)  # a machine that compiles only
    backend, reason = registry.choose("qaic")
    assert backend.name == "qaic" and reason == "asked for: backend=qaic"


def test_the_variable_sets_the_default(monkeypatch: pytest.MonkeyPatch, card: type[Card]) -> None:
    monkeypatch.setenv("QEFF_BACKEND", "onnxruntime")
    backend, reason = registry.choose()
    assert backend.name == "onnxruntime" and reason == "asked for: QEFF_BACKEND=onnxruntime"
    assert registry.choose("qaic")[0].name == "qaic"
    monkeypatch.setenv("QEFF_BACKEND", "onxruntime")
    with pytest.raises(UnknownBackendError, match="QEFF_BACKEND"):
        registry.choose()


def test_the_choice_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="QEfficient"):
        for _ in range(3):
            registry.choose("onnxruntime")
    assert [record.getMessage() for record in caplog.records] == ["backend onnxruntime; asked for: backend=onnxruntime"]
