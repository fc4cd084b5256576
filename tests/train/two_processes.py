"""Run by torchrun, or alone: trains on 8 rows a step in all, without dropout, and writes the weights.

python -m torch.distributed.run --nproc_per_node 2 tests/train/two_processes.py FOLDER KIND…
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from QEfficient import settings
from QEfficient.train.embeddings import fine_tune_embeddings
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.language import fine_tune_causal, fine_tune_seq2seq
from QEfficient.train.request import parse_request
from QEfficient.train.scores import held_out_score
from tests.train import language_models, small


def main(kind: str, base: Path) -> None:
    processes = settings.training_processes()
    request = parse_request(
        {"max_steps": 8, "batch_size": 8 // processes, "learning_rate": 1e-4, "dropout": 0.0}
        | {"output_dir": base / f"{kind}-{processes}", "loss": "CosineSimilarityLoss" if kind == "scores" else None}
    )
    folder, reader = base / "repo", small.tokenizer(base / "repo")
    if kind == "head":
        rows = small.classes()
        score = held_out_score(rows, reader, None, vectors=False)  # every process measures, so that none waits
        trained = fine_tune_head(small.classifier(folder), reader, rows, rows, request, score=score)
        assert trained.course.metrics
    elif kind == "causal":
        rows = language_models.completions(8)
        model = language_models.model("gpt2", initializer_range=0.1)
        trained = fine_tune_causal(model, language_models.tokenizer(), rows, rows, request)
    elif kind == "seq2seq":
        rows = language_models.targets(8)
        model = language_models.model("t5")
        trained = fine_tune_seq2seq(model, language_models.tokenizer(ends=True), rows, rows, request)
    else:
        trained = fine_tune_embeddings(small.encoder(folder), reader, small.MEAN, small.scored_pairs(), None, request)
    if settings.training_rank() == 0:
        weights = {name: tensor.contiguous().clone() for name, tensor in trained.module.state_dict().items()}
        if kind in ("causal", "seq2seq"):
            weights["held-out losses"] = torch.tensor(trained.course.held_out_losses)
        save_file(weights, str(base / f"{kind}-{processes}.safetensors"))


if __name__ == "__main__":
    for kind in sys.argv[2:]:
        main(kind, Path(sys.argv[1]))
    if torch.distributed.is_initialized():  # else the threads of its connections may end the process, with an error
        torch.distributed.destroy_process_group()
