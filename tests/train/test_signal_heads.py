"""Heads of images, clips, speech, masked words and choices: each learns, is an ordinary repo, refuses what is bad."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from QEfficient.errors import InputError, OptionError, UsageError
from QEfficient.evaluate.data import read_examples
from QEfficient.source.identity import tensors_digest
from QEfficient.train.features import HeadReader
from QEfficient.train.heads import fine_tune_head
from QEfficient.train.labelled import IGNORED
from QEfficient.train.losses import head_loss
from QEfficient.train.mask_texts import read_mask_texts
from QEfficient.train.masking import MaskedRows
from QEfficient.train.request import parse_request
from QEfficient.train.save import save_model
from tests.train import small
from tests.train.small_signals import CASES, RATE, picture, repo, tone

SOUND = {"array": tone("AB"), "sampling_rate": RATE}
LABELLED = ("image-classification", "audio-classification")


def load(folder: Path, task: str) -> Any:
    """The Auto object of a new tiny repo."""
    return CASES[task].load(repo(folder / "repo", task), **({"num_labels": 2} if task in LABELLED else {}))


def transformers_model(auto_class: str, folder: Path) -> Any:
    """As transformers loads it, with the attention that ours is trained with."""
    kind = getattr(transformers, f"AutoModelFor{auto_class}")
    return kind.from_pretrained(folder, attn_implementation="eager").eval()


def inputs(task: str, folder: Path) -> dict[str, Any]:
    """Two rows as the model of a folder reads them."""
    rows = CASES[task].rows[:2]
    if task == "image-classification":
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
        return dict(processor([picture(0), picture(1)], return_tensors="pt"))
    if task in ("audio-classification", "automatic-speech-recognition"):
        clips = [np.asarray(row["audio"]["array"][:800]) for row in rows]
        extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
        return dict(extractor(clips, sampling_rate=RATE, return_tensors="pt"))
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    if task == "fill-mask":
        return dict(reader([row["text"] for row in rows], padding=True, return_tensors="pt"))
    prompts, choices = [row["prompt"] for row in rows for _ in "ab"], [one for row in rows for one in row["choices"]]
    flat = reader(prompts, choices, padding=True)
    return {name: torch.tensor(flat[name]).reshape(2, 2, -1) for name in flat}


@pytest.mark.parametrize("task", CASES)
def test_it_learns_and_is_an_ordinary_repo_whose_program_gives_the_same(tmp_path: Path, task: str) -> None:
    case, model = CASES[task], load(tmp_path, task)
    trained = model.fine_tune(case.rows, case.rows, batch_size=4, **case.keywords)
    before, after = trained.course.held_out_losses or (0.0, 0.0)
    assert after < 0.5 * before
    found = {metric.name: metric.value for metric in model.evaluate(case.rows, runtime_ai100=False).metrics}
    assert {one.after.name: one.after.value for one in trained.course.metrics} == pytest.approx(found, abs=1e-6)
    assert found["wer"] == 0.0 if task == "automatic-speech-recognition" else found["accuracy"] == 1.0

    folder = save_model(trained, tmp_path / "saved")
    plain = transformers_model(case.auto_class, folder)
    asked = inputs(task, folder)
    with torch.no_grad():
        expected = plain(**asked).logits.numpy()
        assert np.array_equal(trained.module(**asked).logits.numpy(), expected)
    if task in LABELLED:
        assert plain.config.id2label == dict(enumerate(sorted({row["label"] for row in case.rows})))
        assert plain.config.problem_type == "single_label_classification"

    model.compile(**({} if task in LABELLED[:1] else {"seq_len": 1600} if "audio" in case.rows[0] else {"seq_len": 32}))
    assert np.allclose(model.generate(asked)["logits"], expected, atol=1e-4)


@pytest.mark.parametrize("task", CASES)
def test_adapters_are_merged_and_read_back(tmp_path: Path, task: str) -> None:
    case, model = CASES[task], load(tmp_path, task)
    keywords = case.keywords | {"epochs": min(case.keywords["epochs"], 10), "learning_rate": 1e-2}
    trained = model.fine_tune(case.rows, case.rows, batch_size=4, lora={"r": 4}, **keywords)
    before, after = trained.course.held_out_losses or (0.0, 0.0)
    assert after < 0.9 * before
    assert not [name for name, _ in trained.module.named_parameters() if "lora" in name]
    plain = transformers_model(case.auto_class, trained.output_dir / "model")
    asked = inputs(task, trained.output_dir / "model")
    with torch.no_grad():
        assert torch.equal(plain(**asked).logits, trained.module(**asked).logits)


@pytest.mark.parametrize("task", ["fill-mask", "image-classification", "automatic-speech-recognition"])
def test_an_interrupted_run_comes_to_the_same_weights(
    tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, rows = torch.get_num_threads(), CASES[task].rows
    rows = [row["text"].replace("[MASK]", row["target"]) for row in rows] if task == "fill-mask" else rows
    step, taken = torch.optim.AdamW.step, [0]

    def interrupted(self: Any, *args: Any, **keywords: Any) -> Any:
        taken[0] += 1
        if taken[0] == 7:
            raise KeyboardInterrupt
        return step(self, *args, **keywords)

    def train(where: str, **more: Any) -> Any:
        keywords = {"epochs": 2, "batch_size": 4, "save_steps": 3, "output_dir": tmp_path / where}
        return load(tmp_path / "of" / where / str(len(more)), task).fine_tune(rows, rows, **keywords, **more)

    torch.set_num_threads(1)
    try:
        whole = train("whole")
        with monkeypatch.context() as patch:
            patch.setattr(torch.optim.AdamW, "step", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train("broken")
        resumed = train("broken", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert whole.course.steps == resumed.course.steps > 7
    assert tensors_digest(whole.module) == tensors_digest(resumed.module)
    assert whole.course.held_out_losses == resumed.course.held_out_losses is not None


@pytest.mark.parametrize("task", ["image-classification", "audio-classification"])
def test_another_pixel_or_sample_is_another_run(tmp_path: Path, task: str) -> None:
    rows = CASES[task].rows
    kind = "image" if task == "image-classification" else "audio"
    changed = rows[0]["image"].copy() if kind == "image" else rows[0]["audio"]["array"].copy()
    changed[0] = 1
    other = {**rows[0], kind: changed if kind == "image" else {"array": changed, "sampling_rate": RATE}}
    load(tmp_path, task).fine_tune(rows, max_steps=1, output_dir=tmp_path / "run")
    with pytest.raises(UsageError, match="another train"):
        load(tmp_path / "other", task).fine_tune(
            [other, *rows[1:]], max_steps=1, output_dir=tmp_path / "run", resume=True
        )


# ---------------------------------------------------------------------------------------------- masks


def test_what_is_hidden_is_a_function_of_seed_epoch_and_row(tmp_path: Path) -> None:
    reader = small.tokenizer(small.repo(tmp_path / "repo"))
    plain = HeadReader(reader, 64, None).features(read_mask_texts(["is good " * 30] * 200), "training")
    rows, again, other = (MaskedRows(plain, reader, seed, len(reader)) for seed in ((0, 0), (0, 0), (1, 0)))
    first = rows[0]
    assert first == again[0] != other[0] and first["labels"] != rows[1]["labels"]
    rows.begin(1)
    assert rows[0] != first
    rows.begin(0)
    assert rows[0] == first

    counts = {"hidden": 0, "mask": 0, "same": 0, "all": 0}
    for row, before in zip(rows, plain, strict=True):
        for label, now, was in zip(row["labels"], row["input_ids"], before["input_ids"], strict=True):
            if was in reader.all_special_ids or label == IGNORED:
                assert now == was and label == IGNORED
                counts["all"] += was not in reader.all_special_ids
                continue
            assert label == was
            counts["all"] += 1
            counts["hidden"] += 1
            counts["mask"] += now == reader.mask_token_id
            counts["same"] += now == was
    assert counts["hidden"] / counts["all"] == pytest.approx(0.15, abs=0.01)
    assert counts["mask"] / counts["hidden"] == pytest.approx(0.8, abs=0.03)
    assert counts["same"] / counts["hidden"] == pytest.approx(0.1, abs=0.03)


def test_each_short_text_has_a_hidden_token(tmp_path: Path) -> None:
    reader = small.tokenizer(small.repo(tmp_path / "repo"))
    plain = HeadReader(reader, 16, None).features(read_mask_texts(["good"] * 20), "training")
    rows = MaskedRows(plain, reader, (0,), len(reader))
    assert all(sum(label != IGNORED for label in row["labels"]) == 1 for row in rows)


def test_texts_are_plain_or_have_a_mask_and_its_word() -> None:
    labelled = [{"text": "a good day", "label": "positive"}]
    assert dict(read_mask_texts(labelled).columns) == {"text": ["a good day"]}
    assert dict(read_mask_texts(iter(["a", "b"])).columns) == {"text": ["a", "b"]}
    given = [{"sentence": "a <mask> day", "word": "good"}]
    assert dict(read_mask_texts(given).columns) == {"text": ["a [MASK] day"], "target": ["good"]}
    with pytest.raises(InputError, match="one text a row"):
        read_mask_texts([{"text": "a", "pair": "b"}])


# ---------------------------------------------------------------------------------------------- speech


def test_the_loss_of_speech_is_that_of_transformers(tmp_path: Path) -> None:
    folder = repo(tmp_path / "repo", "automatic-speech-recognition")
    module = transformers.AutoModelForCTC.from_pretrained(folder, ctc_loss_reduction="mean").eval()
    asked = inputs("automatic-speech-recognition", folder)
    letters = torch.tensor([[3, 4, 3], [4, IGNORED, IGNORED]])
    with torch.no_grad():
        expected = module(**asked, labels=letters).loss
        outputs = module(**asked)
    labels = torch.cat([torch.full((2, 1), outputs.logits.shape[1]), letters], dim=1)
    assert torch.allclose(head_loss("automatic-speech-recognition", blank=0)(outputs, labels), expected)


# ---------------------------------------------------------------------------------------------- refusals


def said(text: str, **clip: Any) -> dict[str, Any]:
    return {"audio": SOUND | clip, "text": text}


def sound(label: str, **clip: Any) -> dict[str, Any]:
    return {"audio": SOUND | clip, "label": label}


def asked(count: int, label: int = 0) -> dict[str, Any]:
    return {"prompt": "which", "choices": ["good", "awful", "is"][:count], "label": label}


BAD: dict[str, tuple[str, list[Any], str]] = {
    "one class": ("image-classification", [{"image": picture(0), "label": "a"}] * 2, "same label"),
    "many labels": ("image-classification", [{"image": picture(0), "label": one} for one in "abc"], "more labels"),
    "no picture": ("image-classification", [{"image": np.zeros((5, 7, 9)), "label": one} for one in "ab"], "no image"),
    "number": ("audio-classification", [sound("a"), {"audio": SOUND, "label": 7}], "numbers"),
    "rate": ("audio-classification", [sound("a"), sound("b", sampling_rate=8000)], "sampling rate"),
    "empty": ("audio-classification", [sound("a"), sound("b", array=np.zeros(0))], "no clip"),
    "short": ("audio-classification", [sound("a"), sound("b", array=np.ones(3))], "can't read"),
    "letters": ("automatic-speech-recognition", [said("ABC")], "'C' in row 0"),
    "frames": ("automatic-speech-recognition", [said("AB" * 300)], "too short for its transcript"),
    "counts": ("multiple-choice", [asked(2), asked(3)], "number of choices"),
    "choice": ("multiple-choice", [asked(2), asked(2, 2)], "none of the choices"),
    "word": ("fill-mask", [{"text": "a [MASK]", "target": "unbelievabilities"}], "single token"),
    "nothing": ("fill-mask", [" "], "empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_before_anything_is_trained(tmp_path: Path, name: str) -> None:
    task, rows, match = BAD[name]
    with pytest.raises(InputError, match=match):
        load(tmp_path, task).fine_tune(rows)
    assert not Path(os.environ["QEFF_HOME"], "train").exists()


def test_images_that_the_processor_leaves_unequal_are_refused(tmp_path: Path) -> None:
    folder = repo(tmp_path / "repo", "image-classification")
    module = transformers.AutoModelForImageClassification.from_pretrained(folder, num_labels=2)
    rows = read_examples(CASES["image-classification"].rows, "image-classification")
    processor = transformers.AutoImageProcessor.from_pretrained(folder, do_resize=False)
    with pytest.raises(InputError, match="another shape"):
        fine_tune_head(module, processor, rows)
    same = read_examples([{**row, "image": picture(0)} for row in CASES["image-classification"].rows], rows.task)
    with pytest.raises(InputError, match="can't read"):
        fine_tune_head(module, processor, same)
    with pytest.raises(UsageError, match="no processor"):
        fine_tune_head(module, object(), rows)


def test_clips_must_be_longer_than_what_is_hidden_of_them(tmp_path: Path) -> None:
    folder = repo(tmp_path / "repo", "audio-classification")
    model = CASES["audio-classification"].load(folder, num_labels=2, apply_spec_augment=True)
    rows = [sound("a"), sound("b", array=np.ones(100))]
    with pytest.raises(InputError, match="mask_time_length"):
        model.fine_tune(rows)


def test_a_model_in_memory_needs_its_processor(tmp_path: Path) -> None:
    folder = repo(tmp_path / "repo", "image-classification")
    module = transformers.AutoModelForImageClassification.from_pretrained(folder, num_labels=2)
    model, rows = type(load(tmp_path / "other", "image-classification"))(module), CASES["image-classification"].rows
    with pytest.raises(UsageError, match="processor=…"):
        model.fine_tune(rows)
    with pytest.raises(UsageError, match="tokenizer of its own"):
        model.fine_tune(rows, tokenizer=object())
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    trained = model.fine_tune(rows, max_steps=1, processor=processor)
    assert (trained.output_dir / "model" / "preprocessor_config.json").is_file()


def test_keywords_and_tasks_of_other_models_are_refused(tmp_path: Path) -> None:
    model, rows = load(tmp_path, "image-classification"), CASES["image-classification"].rows
    with pytest.raises(OptionError, match="max_length does nothing"):
        model.fine_tune(rows, max_length=8)
    with pytest.raises(UsageError, match="another task"):
        model.fine_tune({"text": small.TEXTS, "label": small.LABELS}, task="text-classification")
    weighted = model.fine_tune(rows, max_steps=1, class_weights="balanced")
    assert weighted.request == parse_request({"max_steps": 1, "class_weights": "balanced"})
