import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from QEfficient.cache import Cache
from QEfficient.cli.main import app, main
from QEfficient.errors import CacheError
from tests.cache_builds import KEY, NAME, STAGE, build


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "600")  # a path that is folded can't be searched for


def run(*args: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, ["cache", *args], input=answer)


def add(name: str = NAME, **changes: object) -> Path:
    key = {**KEY, **changes}
    return Cache().get_or_build(name, STAGE, key, lambda folder: build(folder, key=key))[0]


def test_ls_of_an_empty_cache() -> None:
    result = run("ls")
    assert result.exit_code == 0 and "0 artefacts" in result.output
    assert json.loads(run("ls", "--json").stdout) == []


def test_ls_lists_and_counts() -> None:
    path = add()
    add("other/model")
    output = run("ls").output
    assert "org--tiny" in output and "other--model" in output and path.name[5:17] in output
    assert "2 artefacts" in output
    assert "1 artefacts" in run("ls", "org/tiny").output


def test_ls_as_json_holds_the_ingredients() -> None:
    path = add()
    (found,) = json.loads(run("ls", "--json").stdout)
    assert found["path"] == str(path) and found["ingredients"] == KEY
    assert found["problem"] is None and found["bytes"] > 160_000


def test_ls_shows_damage() -> None:
    (add() / "part-1.bin").unlink()
    assert "damaged" in run("ls").output
    assert "part-1.bin" in json.loads(run("ls", "--json").stdout)[0]["problem"]


def test_explain_shows_the_difference() -> None:
    add()
    assert "Nothing to compare" in run("explain").output
    add(opset=17, pooling=["max"])
    result = run("explain", "org/tiny", "--stage", "onnx")
    assert result.exit_code == 0
    for text in ("opset", "18", "17", "pooling", '["mean"]', '["max"]'):
        assert text in result.output
    assert "weights" not in result.output


def test_verify_tells_by_its_exit_code() -> None:
    path = add()
    assert run("verify").exit_code == 0
    (path / "part-1.bin").write_bytes(bytes([9]) * (path / "part-1.bin").stat().st_size)
    result = run("verify")
    assert result.exit_code == 1
    assert "1 damaged" in result.output and "part-1.bin" in result.output


def test_prune_asks_first() -> None:
    path = add()
    assert run("prune", "org/tiny", answer="n\n").exit_code == 1 and path.exists()
    assert run("prune", "org/tiny", "--dry-run").exit_code == 0 and path.exists()
    result = run("prune", "org/tiny", answer="y\n")
    assert result.exit_code == 0 and "1 artefacts removed" in result.output and not path.exists()
    assert "0 artefacts to remove" in run("prune", "org/tiny").output


def test_prune_by_age_and_size() -> None:
    first, second = add(), add(opset=17)
    assert run("prune", "--older-than", "1d", "--yes").exit_code == 0 and first.exists()
    assert run("prune", "--max-size", "200 KB", "-y").exit_code == 0
    assert not first.exists() and second.exists()
    assert run("prune", "--older-than", "0m", "-y").exit_code == 0 and not second.exists()


@pytest.mark.parametrize(
    "args", [(), ("--older-than", "soon"), ("--max-size", "big"), ("--older-than", "-1d")], ids=str
)
def test_prune_refuses_what_it_does_not_understand(args: tuple[str, ...]) -> None:
    path = add()
    assert run("prune", *args).exit_code == 2
    assert path.exists()


def test_text_with_brackets_is_printed_as_it_is() -> None:
    add()
    add(pooling=["[bold]x[/bold]"])
    assert "[bold]x[/bold]" in run("explain").output


def test_an_error_of_the_library_is_printed_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Cache, model: str | None = None) -> None:
        raise CacheError("The cache can't be read.", got="/x", allowed="a folder", do="look")

    monkeypatch.setattr(Cache, "entries", fail)
    monkeypatch.setattr(sys, "argv", ["qefficient", "cache", "ls"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.startswith("error: The cache can't be read.\n  got:     /x")


def test_the_commands_need_no_torch() -> None:
    add()
    script = (
        "import sys; sys.argv = ['qefficient', 'cache', 'verify']\n"
        "from QEfficient.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        "    print([m for m in ('torch', 'transformers', 'onnx', 'numpy') if m in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip().endswith("[]")


@pytest.mark.parametrize("command", ["ls", "explain", "verify"])
def test_a_model_that_is_not_there_is_a_mistake(command: str) -> None:
    add()
    result = run(command, "nope")
    assert result.exit_code == 2
    assert "no model 'nope'" in result.output


def test_an_unknown_stage_is_a_mistake() -> None:
    result = run("explain", "--stage", "banana")
    assert result.exit_code == 2
    assert "banana" in result.output
