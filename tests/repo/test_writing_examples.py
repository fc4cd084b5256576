"""Pages and examples in which models write text: one environment for all, in which each model is compiled once."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import toy_summaries, toy_translation
from tests.repo.conftest import Child, RunBlocks, printed_by
from tests.repo.source import ROOT
from tests.repo.test_code_blocks import WRITING
from tests.smollm2 import REPO

EXAMPLES = ROOT / "examples"
TUTORIALS = ROOT / "docs" / "tutorials"
CUT = {"maxLength": 10, "type": "string"}
REQUESTS = [
    {"id": "short", "prompt": "Name a colour.", "max_new_tokens": 2},
    {"id": "too long", "prompt": "word " * 3000},
    {"id": "misspelt", "prompt": "Hi", "max_new_token": 3},
    {"id": "no text", "prompt": 5, "max_new_tokens": 3},
    {"id": 7, "prompt": "Count to ten. " * 20, "max_new_tokens": 16, "do_sample": True, "seed": 3},
    {"id": "json", "prompt": "A name, please.", "json_schema": CUT, "max_new_tokens": 40, "json_compact": True},
]
INTERRUPTIBLE = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
WRONG = ["too long", "misspelt", "no text"]


def test_the_readme_leads_to_a_tutorial_and_an_example_of_each_task() -> None:
    readme = (ROOT / "README.md").read_text()
    rows = re.findall(r"^\| [a-z ]*(?:JSON)?[a-z ]* \| \[.*\]\((.*)\) \| \[.*\]\((.*)\) \|$", readme, re.MULTILINE)
    assert len(rows) == 5
    listed = (TUTORIALS / "index.rst").read_text().split()
    for page, example in rows:
        assert Path(page).stem in listed and (ROOT / page) in WRITING
        assert example in (ROOT / page).read_text(), "a page names its example"
        assert (ROOT / example).is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_pages_run(run_blocks: RunBlocks, offline_writers: dict[str, str]) -> None:
    assert ROOT / "README.md" in WRITING
    assert run_blocks(WRITING, offline_writers) == {str(path): "" for path in WRITING}


@pytest.mark.slow
def test_translate(child: Child, offline_writers: dict[str, str]) -> None:
    command = [str(EXAMPLES / "translate.py"), toy_translation.REPO, "num", "deu"]
    done = child(command, offline_writers, stdin="21\n4711\n")
    assert done.stdout.splitlines() == [toy_translation.german(21), toy_translation.german(4711)]
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)  # SmolLM2 is compiled, if this test runs alone
def test_summarize_with_a_model_of_either_kind(child: Child, offline_writers: dict[str, str], tmp_path: Path) -> None:
    rows = toy_summaries.held_out()[:2]
    files = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for file, (report, _) in zip(files, rows, strict=True):
        file.write_text(report.replace(". ", ".\n"))
    command = [str(EXAMPLES / "summarize.py"), toy_summaries.REPO, *map(str, files)]
    done = child(command, offline_writers)
    assert done.stdout.splitlines() == [f"{file}: {row[1]}" for file, row in zip(files, rows, strict=True)]
    assert done.stderr == ""
    done = child([command[0], REPO, str(files[0])], offline_writers)
    assert re.fullmatch(rf"{files[0]}: \w.*\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_batch_goes_on_where_ctrl_c_has_stopped_it(
    child: Child, offline_writers: dict[str, str], tmp_path: Path
) -> None:
    source, target = tmp_path / "requests.jsonl", tmp_path / "answers.jsonl"

    def ask(**more: int) -> None:
        requests = [{**request, **(more if request["id"] == 7 else {})} for request in REQUESTS]
        source.write_text("".join(json.dumps(request) + "\n" for request in requests))

    ask(max_new_tokens=1500, min_new_tokens=1500)  # it is at work on this one when it is stopped
    command = [str(EXAMPLES / "batch.py"), REPO, str(source), str(target)]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *command],
        env={**os.environ, **offline_writers},
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and (not target.exists() or target.read_text().count("\n") <= len(WRONG)):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode in (-signal.SIGINT, 130) and "KeyboardInterrupt" in said, said
    before = target.read_text()
    first = [json.loads(line) for line in before.splitlines()]
    assert [line["id"] for line in first][:4] == [*WRONG, "short"] and first[3]["reason"] == "length"
    assert "2048" in first[0]["error"] and "max_new_tokens" in first[1]["error"]
    assert {line["id"] for line in first[4:]} <= {"json"}

    target.write_text(before + '{"id": 7, "text": "of a cr')  # as a crash leaves it
    ask()
    done = child(command, offline_writers)
    assert (done.stdout, done.stderr) == ("", "")
    assert target.read_text().startswith(before)
    lines = list(map(json.loads, target.read_text().splitlines()))
    assert sorted(str(line["id"]) for line in lines) == sorted([*WRONG, *WRONG, "short", "7", "json"])
    answers = {line["id"]: line for line in lines}
    assert answers[7]["reason"] in ("stop", "length") and answers["json"]["reason"] == "stop"
    assert len(json.loads(answers["json"]["text"])) <= 10


@pytest.mark.parametrize("script", ["batch", "summarize", "translate"])
def test_a_script_without_what_it_needs_says_how_it_is_called(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{script}.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and f"python examples/{script}.py " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("line", ['{"id": 1}', "not json", '{"prompt": "x"}', "[1]", '{"id": [1], "prompt": "x"}'])
def test_a_line_that_is_no_request_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "requests").write_text('{"id": 0, "prompt": "x"}\n' + line + "\n")
    read = runpy.run_path(str(EXAMPLES / "batch.py"))["read"]
    with pytest.raises(SystemExit, match="requests, line 2 is no request: "):
        read(tmp_path / "requests")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_of_a_conversation(offline_writers: dict[str, str], tmp_path: Path) -> None:
    printed = printed_by(EXAMPLES / "chat.ipynb", offline_writers, tmp_path)
    assert len(re.findall(r"\[\d+ tokens, (?:stop|length)\]", "".join(printed))) == 3
    [reused] = re.findall(r"(\d+) tokens of the conversation were not read again", "".join(printed))
    assert int(reused) > 0
    assert (tmp_path / "chat-program").is_dir()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_of_forms(offline_writers: dict[str, str], tmp_path: Path) -> None:
    printed = "".join(printed_by(EXAMPLES / "json_by_schema.ipynb", offline_writers, tmp_path))
    assert len(re.findall(r"\{'name': .*, 'age': \d+, 'mood': '(?:happy|sad|neither)'\}", printed)) == 2
    assert printed.rstrip().endswith("→ length")
