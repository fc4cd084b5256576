"""The real language model of tests and benchmarks, and 200 real prompts for it.

SmolLM2-135M-Instruct in float32, as an ordinary HuggingFace folder: made from an installed package on first use
(35 s) and kept in ``.data/`` of the checkout, 540 MB; nothing of it is committed.
"""

from __future__ import annotations

import runpy
import shutil
from functools import cache
from pathlib import Path

from filelock import FileLock

from tests import lee_corpus, real_text

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".data" / "smollm2-135m-instruct"
REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
NEW_TOKENS = 64

_ASKS = (
    "What is the mood of this text? {}",
    "Continue this text: {}",
    "Summarize: {}",
    "Who is this about, and what happens? {}",
    "{}",
)


def folder() -> Path:
    """The model's folder; makes it where it is not there."""
    FOLDER.parent.mkdir(exist_ok=True)
    with FileLock(FOLDER.parent / "smollm2.lock"):  # tests run side by side
        if not FOLDER.is_dir():
            partial = FOLDER.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            runpy.run_path(str(ROOT / "examples" / "smollm2.py"))["write"](partial)
            partial.replace(FOLDER)
    return FOLDER


@cache
def conversations() -> tuple[tuple[dict[str, str], ...], ...]:
    """200 conversations of one turn: snippets, articles and several articles together, about 10 to 900 tokens each.

    Every fourth has an empty system message; to the others the template adds its own.
    """
    snippets, articles = real_text.snippets(116), lee_corpus.documents()
    joined = [" ".join(articles[first : first + many]) for many in (2, 4, 6, 7) for first in range(0, 50 - many, 5)]
    texts = [*snippets, *articles, *joined]
    asked = [_ASKS[place % len(_ASKS)].format(text) for place, text in enumerate(texts)]
    every = ["Hi", "What is the capital of France?", *asked][:200]
    system = {"role": "system", "content": ""}
    users = [{"role": "user", "content": text} for text in every]
    return tuple((user,) if place % 4 else (system, user) for place, user in enumerate(users))


if __name__ == "__main__":
    print(folder())
