"""``qefficient generate`` and ``qefficient chat`` over a tiny saved program, without torch and on a terminal."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from QEfficient import QEFFAutoModelForCausalLM
from QEfficient.cli.main import app
from tests.generation.decoder_repos import decoder_repo
from tests.unit.test_torch_free import BLOCK

pytestmark = pytest.mark.slow

PROMPTS = ["A cup of tea.", "Rain, rain and more rain"]
CTX = 192
MAIN = "from QEfficient.cli.main import main\nmain()"


@dataclass
class Tiny:
    repo: Path
    saved: str
    model: QEFFAutoModelForCausalLM


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    repo = decoder_repo(tmp_path_factory.mktemp("repo") / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QEFF_HOME", str(tmp_path_factory.mktemp("home")))
        model = QEFFAutoModelForCausalLM.from_pretrained(repo)
        model.compile(ctx_len=CTX, prefill_seq_len=16, full_batch_size=2, verify="off", backend="onnxruntime")
        yield Tiny(repo, model.save_pretrained(tmp_path_factory.mktemp("saved") / "tiny"), model)
        model.close()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "600")  # a message that is folded can't be searched for


def run(*args: object, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(app, [*map(str, args)], input=stdin)


def without_torch(*args: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which ends where torch or its friends are imported."""
    command = [sys.executable, "-c", BLOCK + MAIN, *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, encoding="utf-8", timeout=300, check=False)


# ---------------------------------------------------------------------------------------------- generate


def test_one_prompt_is_answered_without_torch(tiny: Tiny) -> None:
    done = without_torch("generate", tiny.saved, PROMPTS[0], "--max-new-tokens", 12)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(tiny.model.stream(PROMPTS[0], max_new_tokens=12)) + "\n"


@pytest.mark.parametrize("command", [(), ("generate",), ("chat",)])
def test_help_needs_no_torch(command: tuple[str, ...]) -> None:
    done = without_torch(*command, "--help")
    assert done.returncode == 0, done.stderr
    assert ("--max-new-tokens" if command else "generate") in done.stdout


def test_pieces_come_as_they_are_written(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, end="\n", **_: shown.append("".join(words) + end))
    assert run("generate", tiny.saved, PROMPTS[0], "--max-new-tokens", 12).exit_code == 0
    assert shown == [*tiny.model.stream(PROMPTS[0], max_new_tokens=12), "\n"]
    assert len(shown) > 3


def test_several_prompts_in_their_order(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.model.generate(prompts=PROMPTS, generation_len=8)
    wanted = capsys.readouterr().out
    assert run("generate", tiny.saved, *PROMPTS, "--max-new-tokens", 8).stdout == wanted
    file = tmp_path / "prompts.txt"
    file.write_text("\n\n".join(PROMPTS) + "\n", encoding="utf-8")
    assert run("generate", tiny.saved, "--prompts", file, "--max-new-tokens", 8).stdout == wanted


def test_stdin_is_one_prompt(tiny: Tiny) -> None:
    wanted = "".join(tiny.model.stream("two\nlines", max_new_tokens=8)) + "\n"
    assert run("generate", tiny.saved, "--max-new-tokens", 8, stdin="two\nlines\n").stdout == wanted


def test_json_lines(tiny: Tiny) -> None:
    result = run("generate", tiny.saved, *PROMPTS, "--max-new-tokens", 8, "--json")
    texts = tiny.model.generate(prompts=PROMPTS, generation_len=8, stream=False).generated_texts
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert found == [{"prompt": prompt, "text": text} for prompt, text in zip(PROMPTS, texts, strict=True)]


DRAWN: dict[str, tuple[tuple[object, ...], dict[str, Any]]] = {
    "temperature": (("--temperature", 1.5, "--seed", 3), {"temperature": 1.5}),
    "top k": (("--top-k", 5, "--seed", 3), {"top_k": 5}),
    "top p": (("--top-p", 0.5, "--seed", 3), {"top_p": 0.5}),
    "min p": (("--min-p", 0.3, "--seed", 3), {"min_p": 0.3}),
    "a seed": (("--seed", 3), {}),
}
CHOSEN: dict[str, tuple[tuple[object, ...], dict[str, Any]]] = {
    "greedy": (("--greedy",), {}),
    "no temperature": (("--temperature", 0), {"temperature": 0.0}),
    "a penalty": (("--repetition-penalty", 1.5), {"repetition_penalty": 1.5}),
    **{name: (words, {**found, "do_sample": True, "seed": 3}) for name, (words, found) in DRAWN.items()},
}


@pytest.mark.parametrize("name", CHOSEN)
def test_how_tokens_are_chosen(tiny: Tiny, name: str) -> None:
    words, keywords = CHOSEN[name]
    wanted = "".join(tiny.model.stream(PROMPTS[0], max_new_tokens=16, **keywords)) + "\n"
    assert run("generate", tiny.saved, PROMPTS[0], "--max-new-tokens", 16, *words).stdout == wanted
    plain = "".join(tiny.model.stream(PROMPTS[0], max_new_tokens=16)) + "\n"
    assert (wanted == plain) == (name in ("greedy", "no temperature"))


def test_stop_strings_and_a_json_schema(tiny: Tiny, tmp_path: Path) -> None:
    whole = "".join(tiny.model.stream(PROMPTS[0], max_new_tokens=16))
    stop = next(letter for letter in whole[3:] if letter.isascii())
    stopped = run("generate", tiny.saved, PROMPTS[0], "--max-new-tokens", 16, "--stop", "zzz", "--stop", stop)
    assert stopped.stdout == whole[: whole.index(stop)] + "\n"
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": ["yes", "no"]}')
    result = run("generate", tiny.saved, PROMPTS[0], "--json-schema", schema)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) in ("yes", "no")


def test_a_repo_is_compiled_first(tiny: Tiny) -> None:
    result = run("generate", tiny.repo, "A", "--max-new-tokens", 20, "--ctx-len", 24, "--backend", "openvino")
    assert result.exit_code == 0, result.output
    assert result.stdout == "".join(tiny.model.stream("A", max_new_tokens=20)) + "\n"
    refused = run("generate", tiny.repo, "A", "--max-new-tokens", 24, "--ctx-len", 24, "--backend", "openvino")
    assert refused.exit_code == 1
    assert "--max-new-tokens does not fit" in str(refused.exception)


WRONG: dict[str, tuple[tuple[object, ...], str]] = {
    "no prompt": ((), "stdin is empty"),
    "prompts twice": (("A", "--prompts", "{file}"), "as arguments too"),
    "no file": (("--prompts", "nowhere.txt"), "does not exist"),
    "an empty file": (("--prompts", "{empty}"), "holds no text"),
    "no UTF-8": (("--prompts", "{bytes}"), "is not UTF-8"),
    "no new token": (("A", "--max-new-tokens", 0), "greater than or equal to 1"),
    "a probability above 1": (("A", "--top-p", 1.5), "less than or equal to 1"),
    "greedy and drawn": (("A", "--greedy", "--top-k", 5), "--top-k draws tokens"),
    "no JSON": (("A", "--json-schema", "{file}"), "is no JSON"),
    "another schema": (("A", "--json-schema", "{list}"), "no JSON object"),
    "a length of a saved program": (("A", "--ctx-len", 64), "is a saved program"),
    "an unknown option": (("A", "--max-token", 3), "No such option"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments(tiny: Tiny, tmp_path: Path, name: str) -> None:
    files = {}
    for kind, content in {"file": b"a\n", "empty": b"\n", "bytes": b"\xff\xfe", "list": b"[1]"}.items():
        files[kind] = tmp_path / kind
        files[kind].write_bytes(content)
    words, said = WRONG[name]
    result = run("generate", tiny.saved, *(str(word).format(**files) for word in words))
    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_stdin_that_is_no_text(tiny: Tiny) -> None:
    result = run("generate", tiny.saved, stdin=b"\xff\xfe")
    assert result.exit_code == 2
    assert "stdin is not UTF-8" in result.stderr


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_an_error_of_the_library(tiny: Tiny, command: str) -> None:
    done = without_torch(command, tiny.saved, "--max-new-tokens", CTX + 1, stdin="Hello\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: --max-new-tokens does not fit")


# ---------------------------------------------------------------------------------------------- chat, from a pipe


def asked(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def answered(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def test_a_conversation_from_a_pipe_without_torch(tiny: Tiny) -> None:
    lines = ["What is tea?", "", "And /milk?", "/clear", "What is tea?", "/etc/hosts is what", "/exit", "never"]
    words = ("--max-new-tokens", 8, "--system", "Be brief.")
    done = without_torch("chat", tiny.saved, *words, stdin="\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    system = {"role": "system", "content": "Be brief."}
    first = tiny.model.chat([system, asked(lines[0])], max_new_tokens=8)
    so_far = [system, asked(lines[0]), answered(first)]
    second = tiny.model.chat([*so_far, asked(lines[2])], max_new_tokens=8)
    third = tiny.model.chat([*so_far, asked(lines[5])], max_new_tokens=8)
    assert done.stdout == "".join(f"{text}\n" for text in (first, second, first, third))


def test_commands(tiny: Tiny) -> None:
    result = run("chat", tiny.saved, stdin="/help\n/forget\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert all(name in result.stderr for name in ("/clear", "/exit", "/help", "There is no /forget"))


# ---------------------------------------------------------------------------------------------- chat, on a terminal


UNSEEN = [*range(94, 259)]
"""All tokens but the 94 that are a visible character of ASCII: no end token, no control character."""

SLOW = f"""
import fcntl, signal, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # Ctrl-C on this terminal is for this process
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from QEfficient.generation.stepper import Stepper
step = Stepper.step
def slow(self):
    time.sleep(0.03)
    return step(self)
Stepper.step = slow
from QEfficient.cli import text_options
keywords = text_options.keywords
text_options.keywords = lambda given: dict(keywords(given), suppress_tokens={UNSEEN})
"""


class Terminal:
    """``qefficient chat`` on a pseudo-terminal, with steps that a person could watch."""

    def __init__(self, *args: object) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", SLOW + MAIN, "chat", *map(str, args)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", "PYTHONUTF8": "1"},
        )
        os.close(theirs)
        self._text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(60)
        os.close(self._ours)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def until(self, pattern: str) -> str:
        """What is shown, up to the end of what a pattern finds."""
        end = time.monotonic() + 120
        while (found := re.search(pattern, self._text, re.DOTALL)) is None:
            assert time.monotonic() < end, self._text
            assert self._read(), self._text
        shown, self._text = self._text[: found.end()], self._text[found.end() :]
        return shown

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], 1)[0]:
            return True
        try:
            chunk = os.read(self._ours, 1 << 12)
        except OSError as error:  # so Linux says that the other side is closed
            assert error.errno == errno.EIO
            return False
        self._text += chunk.decode(errors="replace")
        return bool(chunk)

    def ends(self) -> int:
        """Waits for the end; its exit code."""
        end = time.monotonic() + 120
        while self._read():
            assert time.monotonic() < end, self._text
        return self._process.wait(60)


def test_ctrl_c_stops_the_answer_and_not_the_program(tiny: Tiny) -> None:
    whole = tiny.model.chat([asked("Rain")], max_new_tokens=150, suppress_tokens=UNSEEN)
    assert len(whole) == 150
    with Terminal(tiny.saved, "--max-new-tokens", 150) as terminal:
        terminal.until("Ctrl-D leaves.\r\n> ")
        terminal.type("Rain\n")
        shown = terminal.until("\r\n[!-~]{3}")
        terminal.type("\x03")
        shown += terminal.until("\r\n> $")
        answer = shown.partition("\r\n")[2].partition("\r\n")[0].removesuffix("^C")
        assert whole.startswith(answer)
        assert 3 <= len(answer) < 100
        terminal.type("/clear\n")
        terminal.until("\r\n> $")
        terminal.type("/exit\n")
        assert terminal.ends() == 0


def test_what_was_said_before_ctrl_c_is_kept(tiny: Tiny) -> None:
    """A conversation that fills up is said to be too long; it goes on behind /clear; Ctrl-D leaves."""
    with Terminal(tiny.saved) as terminal:
        terminal.until("\r\n> $")
        terminal.type("x" * 120 + "\n")
        terminal.until("x\r\n[!-~]{2}")
        terminal.type("\x03")
        terminal.until("\r\n> $")
        terminal.type("y" * 70 + "\n")
        assert "error:" in terminal.until("/clear forgets the conversation.\r\n> $")
        terminal.type("/clear\n")
        terminal.until("\r\n> $")
        terminal.type("y" * 120 + "\n")
        assert "its length is used up" in terminal.until("\\)\r\n> $")
        terminal.type("\x04")
        assert terminal.ends() == 0


def test_ctrl_c_outside_of_an_answer_leaves_with_130(tiny: Tiny) -> None:
    with Terminal(tiny.saved) as terminal:
        terminal.until("\r\n> $")
        time.sleep(1)  # readline waits for keys a moment behind its prompt; a signal in between shows with the next key
        terminal.type("\x03")
        assert terminal.ends() == 130
