"""What a run's folder is of: another run is never taken for it, and nothing of anybody's is lost in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers.normalizers import Replace

from QEfficient.errors import UsageError
from QEfficient.train import folder as folders
from QEfficient.train.embeddings import fine_tune_embeddings
from QEfficient.train.fingerprint import reading, sentence_reading
from QEfficient.train.folder import RunFolder, run_folder
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.request import TrainRequest, parse_request
from QEfficient.train.sentence_model import SentenceHead, sentence_transformer
from tests.train import small

ROWS = small.rows("text-classification", text=["a", "b"], label=["x", "y"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QEFF_HOME", str(tmp_path / "home"))
    return tmp_path


def found(repo: Path, change: Callable[[dict[str, Any]], None] = lambda of: None, **keywords: Any) -> RunFolder:
    """The folder of a run of a model with a head, after a change of what it is made of."""
    of: dict[str, Any] = {"module": small.classifier(repo), "tokenizer": small.tokenizer(repo), "rows": ROWS}
    of |= {"limit": 16, "lower_case": False}
    change(of)
    read = reading(of["tokenizer"], of["limit"], of["lower_case"])
    made = run_folder(parse_request(keywords), of["module"], read, of["rows"], None)
    made.release()
    return made


def normalized(of: dict[str, Any]) -> None:
    of["tokenizer"].backend_tokenizer.normalizer = Replace("e", "a")


def configured(of: dict[str, Any]) -> None:
    of["module"].config.hidden_act = "relu"


def labelled(of: dict[str, Any]) -> None:
    of["module"].config.id2label = {0: "y", 1: "x"}


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "tokenizer": normalized,
    "limit": lambda of: of.update(limit=8),
    "case": lambda of: of.update(lower_case=True),
    "config": configured,
    "labels": labelled,
    "task": lambda of: of.update(rows=replace(ROWS, task="token-classification")),
    "names of labels": lambda of: of.update(rows=replace(ROWS, label_names=("x", "y"))),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_decides_the_weights_is_part_of_the_run(repo: Path, change: str) -> None:
    assert found(repo).path != found(repo, CHANGES[change]).path


def test_what_the_tokenizer_did_before_is_no_part_of_it(repo: Path) -> None:
    def used(of: dict[str, Any]) -> None:
        of["tokenizer"](["a", "b c"], padding=True, truncation=True, max_length=4)

    assert found(repo).path == found(repo, used).path


def test_steps_behind_an_encoder_and_prompts_are_part_of_the_run(repo: Path) -> None:
    def path(mode: str, **prompts: str) -> Path:
        head = SentenceHead(({"step": "pooling", "modes": [mode]},))
        model = sentence_transformer(small.encoder(repo), small.tokenizer(repo), head)
        model.prompts |= prompts
        made = run_folder(TrainRequest(), model, sentence_reading(model, False), small.pairs(), None)
        made.release()
        return made.path

    assert len({path("mean"), path("cls"), path("mean", query="ask: ")}) == 3
    assert path("mean") == path("mean")


def test_another_pooling_does_not_go_on_from_the_weights(repo: Path) -> None:
    def train(mode: str) -> Any:
        head = SentenceHead(({"step": "pooling", "modes": [mode]},))
        request = parse_request({"max_steps": 1, "batch_size": 4, "resume": True})
        return fine_tune_embeddings(small.encoder(repo), small.tokenizer(repo), head, small.pairs(), None, request)

    assert train("mean").output_dir != train("cls").output_dir


def test_how_often_the_loss_is_looked_at_counts_where_it_stops_the_training(repo: Path) -> None:
    assert found(repo, save_steps=1).path == found(repo, save_steps=2).path
    stops = {"early_stopping": 1}
    assert found(repo, save_steps=1, **stops).path != found(repo, save_steps=2, **stops).path


def a_loss(model: Any) -> Any:
    return model


def test_a_loss_without_a_name_is_never_gone_on_from(repo: Path) -> None:
    def inner(model: Any) -> Any:
        return model

    for loss in (lambda model: model, inner):
        assert found(repo, loss=loss).path != found(repo, loss=loss).path
        with pytest.raises(UsageError, match="whether the loss is that of the checkpoints"):
            found(repo, loss=loss, resume=True)
    assert found(repo, loss=a_loss).path == found(repo, loss=a_loss, resume=True).path


def test_the_same_call_leaves_the_model_and_drops_the_checkpoints(repo: Path) -> None:
    first = found(repo).path
    for name in ("model", "checkpoint-3"):
        (first / name).mkdir()
        (first / name / folders.STATE_FILE).write_text("{}")
    assert found(repo).path == first
    assert (first / "model").is_dir() and not (first / "checkpoint-3").exists()


@pytest.mark.parametrize("name", ["model", "run.json", "checkpoint-3"])
@pytest.mark.parametrize("resume", [False, True])
def test_what_others_have_made_is_not_touched(repo: Path, tmp_path: Path, name: str, resume: bool) -> None:
    there = tmp_path / "mine"
    there.mkdir()
    if name == "run.json":
        (there / name).write_text('{"mine": 1}')
    else:
        (there / name).mkdir()
        (there / name / folders.STATE_FILE).write_text('{"global_step": 3, "max_steps": 3}')
    with pytest.raises(UsageError, match="another run has made"):
        found(repo, output_dir=there, resume=resume)
    assert [one.name for one in there.iterdir()] == [name]


def test_one_training_in_a_folder_at_a_time(repo: Path, tmp_path: Path) -> None:
    def again(model: Any) -> float:
        with pytest.raises(UsageError, match="Another training writes"):
            fine_tune_head(small.classifier(repo), small.tokenizer(repo), ROWS, None, request)
        return 0.0

    request = parse_request({"max_steps": 1, "output_dir": tmp_path / "run", "resume": True})
    fine_tune_head(small.classifier(repo), small.tokenizer(repo), ROWS, None, request, score=again)
    fine_tune_head(small.classifier(repo), small.tokenizer(repo), ROWS, None, request)


def test_a_folder_that_was_moved_goes_on(repo: Path, tmp_path: Path) -> None:
    def train(where: Path) -> Any:
        keywords = {"max_steps": 2, "save_steps": 1, "early_stopping": 5, "output_dir": where, "resume": True}
        return fine_tune_head(
            small.classifier(repo),
            small.tokenizer(repo),
            ROWS,
            ROWS,
            parse_request({**keywords, "learning_rate": 1e-3}),
        )

    first = train(tmp_path / "one").course
    (tmp_path / "one").rename(tmp_path / "two")
    assert train(tmp_path / "two").course.held_out_losses == first.held_out_losses
