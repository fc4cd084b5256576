"""A child process: trains until it is killed, resumes, trains the same without a break, and compares the weights.

    python -m tests.train.killed_run FOLDER KIND:STEP,STEP…

Each of the steps kills a run of its own, with SIGKILL, while the optimizer is at work. For each kind a line is printed:
its name, how far training moved a weight, and the greatest difference of any between the resumed runs and the unbroken
one. All kills come first: autograd's threads, which a fork would lack, start with the first run that is not killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from QEfficient.train.embeddings import fine_tune_embeddings
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.language import fine_tune_causal, fine_tune_seq2seq
from QEfficient.train.record import Trained
from QEfficient.train.request import parse_request
from QEfficient.train.rerankers import fine_tune_reranker
from tests.train import language_models, small


def train(kind: str, folder: Path, where: Path, **more: Any) -> Trained:
    lora = kind.endswith("-lora")
    request = parse_request(
        {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3, "save_steps": 4, "lora": lora, "output_dir": where} | more
    )
    reader = small.tokenizer(folder)
    words = language_models.tokenizer
    match kind.removesuffix("-lora"):
        case "head":
            return fine_tune_head(small.classifier(folder), reader, small.classes(), small.classes(), request)
        case "pairs":
            return fine_tune_embeddings(small.encoder(folder), reader, small.MEAN, small.pairs(), None, request)
        case "scores":
            return fine_tune_embeddings(small.encoder(folder), reader, small.MEAN, small.scored_pairs(), None, request)
        case "labels":
            return fine_tune_embeddings(small.encoder(folder), reader, small.MEAN, small.classes(), None, request)
        case "causal":
            causal = language_models.model("gpt2", resid_pdrop=0.1)
            return fine_tune_causal(causal, words(), *[language_models.completions(4)] * 2, request)
        case "seq2seq":
            seq2seq = language_models.model("t5", dropout_rate=0.1)
            return fine_tune_seq2seq(seq2seq, words(ends=True), language_models.targets(4), None, request)
    return fine_tune_reranker(small.classifier(folder, 1), reader, small.graded(), None, request)


def killed_in(step: int, run: Callable[[], object]) -> None:
    """Runs it in a fork that SIGKILL ends in the middle of a step."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        return
    taken, before = [0], torch.optim.AdamW.step

    def counted(self: Any, *args: Any, **keywords: Any) -> Any:
        taken[0] += 1
        if taken[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(self, *args, **keywords)

    torch.optim.AdamW.step = counted  # type: ignore[method-assign]
    run()
    os._exit(1)


def moved(first: Any, second: Any) -> float:
    """The greatest difference of any weight."""
    one, other = first.state_dict(), second.state_dict()
    return max(float((one[name] - other[name]).abs().max()) for name in other)


def main(base: Path, orders: list[str]) -> None:
    folder = small.repo(base / "repo")
    steps = {
        kind: [int(step) for step in steps.split(",")] for kind, _, steps in (one.partition(":") for one in orders)
    }
    for kind, many in steps.items():
        for step in many:
            killed_in(step, partial(train, kind, folder, base / f"{kind}-{step}"))
    for kind, many in steps.items():
        whole = train(kind, folder, base / kind).module
        resumed = [train(kind, folder, base / f"{kind}-{step}", resume=True).module for step in many]
        start = train(kind, folder, base / f"{kind}-start", learning_rate=1e-12, max_steps=1).module
        print("kind", kind, moved(whole, start), max(moved(whole, one) for one in resumed))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
