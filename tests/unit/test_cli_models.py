"""``qefficient analyze`` and ``qefficient verify`` on a small sentence-transformers repo."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from QEfficient.cli.main import app, main
from QEfficient.tasks.catalogue import TASKS
from tests.tiny_repo import tiny_repo


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_repo(tmp_path_factory.mktemp("repo"))


@pytest.fixture(autouse=True)
def one_cache(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QEFF_HOME", str(repo.parent / f"{repo.name}-home"))  # one export is enough for all
    monkeypatch.setenv("COLUMNS", "600")  # a path that is folded can't be searched for


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    file = tmp_path / "texts.txt"
    file.write_text("A first text.\n\nAnd a second one, which has a few more words.\n", encoding="utf-8")
    return file


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [*map(str, args)])


def test_analyze_prints_the_table_and_writes_the_report(repo: Path, texts: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    result = run("analyze", repo, "--seq-len", "16,32", "--texts", texts, "--report", report)
    assert result.exit_code == 0, result.output
    assert "2 texts" in result.stdout and "MatMul" in result.stdout and "modules.json" not in result.stdout
    assert "<figure" in report.read_text()


def test_analyze_prints_json(repo: Path) -> None:
    result = run("analyze", repo, "--seq-len", "16", "--json")
    assert [one["bucket"]["length"] for one in json.loads(result.stdout)["buckets"]] == [16]


def test_verify_compiles_and_shows_what_was_found(repo: Path, texts: Path) -> None:
    result = run("verify", repo, "--seq-len", "32", "--texts", texts, "--emulate")
    assert result.exit_code == 0, result.output
    assert "passed" in result.stdout and "emulated" in result.stdout


def test_verify_fails_with_the_figures_and_the_reason(
    repo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["verify", str(repo), "--seq-len", "32", "--emulate", "--min-cosine", "1.0"]
    monkeypatch.setattr(sys, "argv", ["qefficient", *given])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    shown = capsys.readouterr()
    assert "FAILED" in shown.out and "error:" in shown.err and "min cosine" in shown.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--task", "nothing"), "there is no task"),
        (("--task", "fill-mask", "--pooling", "mean"), "not pooled"),
        (("--seq-len", "16,many"), "not a list of numbers"),
        (("--texts", "no-such-file"), "does not exist"),
    ],
)
@pytest.mark.parametrize("command", ["analyze", "verify"])
def test_a_wrong_option_is_named(command: str, args: tuple[str, ...], words: str, repo: Path) -> None:
    result = run(command, repo, *args)
    assert result.exit_code == 2 and words in result.stderr


def test_a_file_without_texts_is_refused(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    result = run("analyze", repo, "--texts", tmp_path / "empty.txt")
    assert result.exit_code == 2 and "holds no text" in result.stderr


def test_every_task_has_its_class() -> None:
    import QEfficient

    assert {name: getattr(QEfficient, task.class_name)._task for name, task in TASKS.items()} == TASKS
    served = {kind for kind in vars(QEfficient)["_HOME"] if kind.startswith("QEFFAutoModel")}
    assert {task.class_name for task in TASKS.values()} == {
        kind for kind in served if hasattr(getattr(QEfficient, kind), "_task")
    }
