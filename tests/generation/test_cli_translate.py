"""``qefficient translate`` and ``summarize`` over a saved program of the toy, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from QEfficient import QEFFAutoModelForSeq2SeqLM
from QEfficient.cli.main import app
from tests import toy_translation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModelForSeq2SeqLM.from_pretrained(toy_translation.folder())
        model.compile(backend="onnxruntime", full_batch_size=4, ctx_len=24, encoder_ctx_len=16, verify="off")
        yield model.save_pretrained(tmp_path_factory.mktemp("saved") / "toy")
        model.close()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "600")  # a message that is folded can't be searched for


def run(*args: object, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [*map(str, args)], input=stdin)


def test_texts_come_from_arguments_a_file_or_stdin(saved: str, tmp_path: Path) -> None:
    file = tmp_path / "texts"
    file.write_text("21\n\n4711\n")
    words = [toy_translation.german(21), toy_translation.german(4711)]
    asked = ("translate", saved, "--target", "deu")
    assert run(*asked, "21", "4711").stdout.splitlines() == words
    assert run(*asked, "--texts", file).stdout.splitlines() == words
    assert run(*asked, stdin="4711").stdout.splitlines() == words[1:]
    said = run(*asked, "21", "--json", "--num-beams", "1", "--max-new-tokens", "20").stdout
    assert json.loads(said) == {"source": "21", "text": words[0]}
    assert run("summarize", saved, "--language", "eng", "21").stdout.splitlines() == ["twenty-one"]


def test_what_is_wrong_is_said(saved: str) -> None:
    assert "several target languages" in str(run("translate", saved, "21").exception)
    long = run("translate", saved, "--target", "deu", "123456789012345678")
    assert "longer than the program reads" in str(long.exception)
    assert "pass --split" in str(long.exception) and "a larger --encoder-ctx-len" in str(long.exception)
    split = run("translate", saved, "--target", "deu", "--split", "1234567. 1234567. 1234567.")
    assert split.exit_code == 0 and split.stdout.strip()
    lengths = run("translate", saved, "--encoder-ctx-len", "8", "21")
    assert lengths.exit_code == 2 and "as it was compiled" in lengths.stderr
    assert run("translate", saved, stdin="").exit_code == 2
