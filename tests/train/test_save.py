"""Where a trained model is written, and what is never lost by it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from QEfficient import QEFFAutoModelForSequenceClassification
from QEfficient.errors import UsageError
from QEfficient.source.identity import tensors_digest
from QEfficient.train.record import Course, Trained, TrainedOn
from QEfficient.train.request import TrainRequest
from QEfficient.train.save import copy_model, keep_model, save_model
from tests.train import small


@pytest.fixture
def trained(repo: Path, tmp_path: Path) -> Trained:
    on = TrainedOn("text-classification", "rows", "digest", 2, 0)
    return Trained(
        small.classifier(repo), None, small.tokenizer(repo), "tiny", on, TrainRequest(), Course(0.0, 1, ()), tmp_path
    )


def other(trained: Trained, repo: Path) -> Trained:
    module = small.classifier(repo)
    module.classifier.bias.data += 1
    return replace(trained, module=module)


def test_a_model_is_replaced_whole(trained: Trained, repo: Path, tmp_path: Path) -> None:
    folder = small.repo(tmp_path / "there")
    assert (folder / "modules.json").exists()
    assert save_model(trained, folder) == folder
    assert not (folder / "modules.json").exists()
    save_model(other(trained, repo), folder)
    again = AutoModelForSequenceClassification.from_pretrained(folder)
    assert tensors_digest(again) != tensors_digest(trained.module)
    assert [one.name for one in tmp_path.iterdir()] == ["there"]


@pytest.mark.parametrize("name", ["adapter_config.json", "qefficient.json", "checkpoint-3", ".git"])
def test_what_is_more_than_a_model_stays(trained: Trained, tmp_path: Path, name: str) -> None:
    folder = small.repo(tmp_path / "there")
    (folder / name).write_text("{}")
    before = sorted(folder.iterdir())
    with pytest.raises(UsageError, match="choose another folder"):
        save_model(trained, folder)
    assert sorted(folder.iterdir()) == before


def test_what_is_no_model_stays(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    for path in ("there", "there/notes"):
        with pytest.raises(UsageError, match=r"choose another (folder|path)"):
            save_model(trained, tmp_path / path)
    assert (tmp_path / "there" / "notes").read_text() == "mine"


def test_an_empty_folder_is_filled(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    save_model(trained, ".")
    assert (Path.cwd() / "config.json").is_file()


def test_a_model_that_is_read_from_its_folder_is_never_replaced(trained: Trained, repo: Path, tmp_path: Path) -> None:
    first = keep_model(trained, tmp_path / "run" / "model")
    assert first == tmp_path / "run" / "model" == keep_model(trained, first)
    second = keep_model(other(trained, repo), first)
    assert second != first and second.name.startswith("model-") and second == keep_model(other(trained, repo), first)
    assert sorted(first.parent.iterdir()) == [first, second]
    assert tensors_digest(AutoModelForSequenceClassification.from_pretrained(first)) == tensors_digest(trained.module)


def test_figures_of_the_old_weights_are_dropped(repo: Path) -> None:
    model = QEFFAutoModelForSequenceClassification.from_pretrained(repo, num_labels=2)
    model.model_card_data.metrics["here"] = {"accuracy": 1.0}
    model.fine_tune({"text": ["a", "b"], "label": ["x", "y"]}, max_steps=1)
    assert model.model_card_data.metrics == {}


def test_a_copy_is_whole_or_there_is_none(repo: Path, tmp_path: Path) -> None:
    copy = copy_model(repo, tmp_path / "copy")
    assert tensors_digest(small.classifier(copy)) == tensors_digest(small.classifier(repo))
    (copy / "zzz").symlink_to("what was lost on the way")
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty", "deep/down"):
        with pytest.raises(shutil.Error, match="zzz"):
            copy_model(copy, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"copy", "empty"}
    assert list((tmp_path / "empty").iterdir()) == []
