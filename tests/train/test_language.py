"""Language models: what they learn they write, on what is given there is no loss, and bad rows are refused before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    Trainer,
    TrainingArguments,
)

from QEfficient.train.language import fine_tune_causal, fine_tune_seq2seq
from QEfficient.train.language_rows import CAUSAL, read_language_rows
from QEfficient.train.order import in_order
from QEfficient.train.record import Trained
from QEfficient.train.request import parse_request
from QEfficient.train.save import save_model
from tests.train import language_models as small

KINDS = {
    "llama": {"initializer_range": 0.1},
    "gpt2": {"initializer_range": 0.1},
    "t5": {},
    "bart": {"init_std": 0.1},
    "marian": {"init_std": 0.3},
}
"""Kind of model → how it starts."""


def trained(
    kind: str, *, score: Callable[[Any], float] | None = None, held_out: bool = True, **keywords: Any
) -> Trained:
    causal = kind in ("llama", "gpt2")
    rows = small.completions() if causal else small.targets()
    request = parse_request({"batch_size": 3, "learning_rate": 1e-2, "warmup": 0, "save_steps": 1000} | keywords)
    tune = fine_tune_causal if causal else fine_tune_seq2seq
    reader = small.tokenizer(ends=not causal)
    return tune(small.model(kind, **KINDS[kind]), reader, rows, rows if held_out else None, request, score=score)


def by_hand(module: Any, kind: str) -> float:
    """Mean cross-entropy of the tokens that are to be written, row by row without padding."""
    reader, total, tokens = small.tokenizer(), 0.0, 0
    for question, answer in zip(small.QUESTIONS, small.ANSWERS, strict=True):
        given, target = (reader(text)["input_ids"] for text in (question, answer))
        target = [*target, reader.eos_token_id]
        with torch.no_grad():
            if kind in ("llama", "gpt2"):
                logits = module(input_ids=torch.tensor([given + target])).logits[0, len(given) - 1 : -1]
            else:
                source = torch.tensor([[*given, reader.eos_token_id]])
                logits = module(input_ids=source, decoder_input_ids=torch.tensor([[0, *target[:-1]]])).logits[0]
        total += float(torch.nn.functional.cross_entropy(logits, torch.tensor(target), reduction="sum"))
        tokens += len(target)
    return total / tokens


def equal(one: Any, other: Any, tolerance: float = 0.0) -> bool:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    return all(float((first[name] - second[name]).abs().max()) <= tolerance for name in first)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learnt_by_heart_is_written(kind: str) -> None:
    steps = 300 if kind == "marian" else 120
    score = small.right(small.tokenizer(ends=kind in ("t5", "bart", "marian")))
    found = trained(kind, max_steps=steps, score=score)
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < 0.2 * before
    assert found.course.scores is not None and found.course.scores[0] < 0.2 and found.course.scores[1] == 1.0
    assert found.module.config.use_cache is True and not found.module.training


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("batch_size", [4, 9])
def test_what_is_given_has_no_loss_and_every_token_counts_alike(kind: str, batch_size: int) -> None:
    """Of nine rows the last batch of four has one: transformers would weigh its tokens otherwise."""
    expected = by_hand(small.model(kind, **KINDS[kind]).eval(), kind)
    found = trained(kind, max_steps=1, batch_size=batch_size)
    assert found.course.held_out_losses is not None
    assert found.course.held_out_losses[0] == pytest.approx(expected, abs=1e-5)
    assert found.course.held_out_losses[1] == pytest.approx(by_hand(found.module, kind), abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_batches_that_are_added_up_train_as_one(kind: str) -> None:
    """T5's own loss is a mean over a batch, which transformers' trainer would add up to three times as much."""
    loss = by_hand(small.model(kind, **KINDS[kind]), kind)
    parts = trained(kind, max_steps=1, batch_size=3, gradient_accumulation=3)
    whole = trained(kind, max_steps=1, batch_size=9)
    assert parts.course.losses[0][1] == pytest.approx(loss, abs=1e-4)  # which the trainer rounds
    assert parts.course.steps == whole.course.steps == 1
    with torch.no_grad():
        moved = [
            (one - other).abs().max() / (other - start).abs().max()
            for one, other, start in zip(
                *(model.parameters() for model in (parts.module, whole.module, small.model(kind, **KINDS[kind]))),
                strict=True,
            )
        ]
    assert float(torch.stack(moved).median()) < 1e-3


def _plain(kind: str, folder: Path) -> Any:
    """The same training, by transformers alone."""
    reader, module = small.tokenizer(ends=kind == "t5"), small.model(kind, **KINDS[kind])
    rows = []
    for question, answer in zip(small.QUESTIONS, small.ANSWERS, strict=True):
        given, target = (reader(text)["input_ids"] for text in (question, answer))
        if kind == "t5":
            rows.append({"input_ids": given, "labels": target})
        else:
            labels = [-100] * len(given) + [*target, 1]
            rows.append({"input_ids": [*given, *target, 1], "labels": labels})
    request = parse_request({"batch_size": 3})
    seq2seq = kind == "t5"
    arguments = (Seq2SeqTrainingArguments if seq2seq else TrainingArguments)(
        output_dir=str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=3,
        learning_rate=1e-2,
        weight_decay=0.01,
        seed=0,
        data_seed=0,
        save_strategy="no",
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    lengths = [len(row["input_ids"]) for row in rows]
    trainer = in_order(Seq2SeqTrainer if seq2seq else Trainer, lengths, request)(
        model=module,
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(reader, model=module if seq2seq else None),
    )
    trainer.train()
    return trainer.model


@pytest.mark.parametrize(("kind", "tolerance"), [("llama", 0.0), ("t5", 1e-4)])
def test_it_is_what_transformers_trainer_gives(kind: str, tolerance: float, tmp_path: Path) -> None:
    """T5 divides each batch's sum within the loss, which rounds otherwise."""
    start = small.model(kind, **KINDS[kind])
    plain, ours = _plain(kind, tmp_path), trained(kind, epochs=2, held_out=False).module
    assert equal(plain, ours, tolerance)
    assert not equal(start, ours, 1e-2)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5", "bart"])
def test_adapters_are_merged_and_leave_the_tables_of_words(kind: str) -> None:
    start = small.model(kind, **KINDS[kind])
    found = trained(
        kind,
        max_steps=60,
        lora={"r": 8},
        learning_rate=2e-2,
        score=lambda module: len(small.written(module, small.tokenizer(), ["what"])),
    )
    before, after = found.course.held_out_losses or (0.0, 0.0)
    assert after < 0.75 * before
    assert {type(part).__module__.partition(".")[0] for part in found.module.modules()} <= {"torch", "transformers"}
    module: Any = found.module
    assert torch.equal(module.get_input_embeddings().weight, start.get_input_embeddings().weight)
    assert torch.equal(module.get_output_embeddings().weight, start.get_output_embeddings().weight)
    tied = start.get_input_embeddings().weight is start.get_output_embeddings().weight
    assert (module.get_input_embeddings().weight is module.get_output_embeddings().weight) is tied
    assert all(weight.requires_grad for name, weight in module.named_parameters() if "position" not in name)


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_fewer_activations_give_the_same_weights(kind: str) -> None:
    one, other = (trained(kind, max_steps=3, gradient_checkpointing=saving).module for saving in (False, True))
    assert equal(one, other, 1e-5)


def test_seeds_decide_the_weights() -> None:
    first, second, other = (trained("gpt2", max_steps=3, seed=seed, dropout=0.2).module for seed in (0, 0, 1))
    assert equal(first, second) and not equal(first, other)


def test_early_stopping_takes_the_best_weights() -> None:
    """The held-out rows have the same words and other answers: learning by heart makes them worse in time."""
    others = read_language_rows(
        {"prompt": small.QUESTIONS, "completion": small.ANSWERS[1:] + small.ANSWERS[:1]}, CAUSAL
    )
    keywords = {"batch_size": 9, "learning_rate": 1e-2, "warmup": 0, "max_steps": 200, "save_steps": 2}
    request = parse_request(keywords | {"early_stopping": 2})
    module = small.model("gpt2", **KINDS["gpt2"])
    found = fine_tune_causal(module, small.tokenizer(), small.completions(), others, request)
    assert found.course.steps < 100 and found.course.held_out_losses is not None
    last = max(found.output_dir.glob("checkpoint-*"), key=lambda folder: int(folder.name.rpartition("-")[2]))
    state = json.loads((last / "trainer_state.json").read_text())
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert found.course.held_out_losses == pytest.approx((losses[0], min(losses)), abs=1e-6)
    assert min(losses) < losses[-1] and min(losses) < losses[0]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "t5"])
def test_what_is_saved_is_an_ordinary_repo(kind: str, tmp_path: Path) -> None:
    found = trained(kind, max_steps=5, lora=True)
    folder = save_model(found, tmp_path / "saved")
    again = (AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForCausalLM).from_pretrained(folder).eval()
    assert equal(again, found.module)
    assert again.generation_config.eos_token_id == 1 and again.generation_config.pad_token_id == 0
    assert (folder / "generation_config.json").is_file() and again.config.use_cache is True
    assert AutoTokenizer.from_pretrained(folder)("what is")["input_ids"][:2] == [4, 5]
    names = load_file(folder / "model.safetensors")
    if kind != "llama":
        assert "lm_head.weight" not in names
        assert again.get_input_embeddings().weight is again.get_output_embeddings().weight


def test_a_padding_token_is_not_needed_to_write_on() -> None:
    """The end-of-sequence token pads, and is still learnt."""
    rows, reader = small.completions(), small.tokenizer(pad_token=None)
    module = small.model("gpt2", initializer_range=0.1)
    request = parse_request({"max_steps": 120, "batch_size": 3, "learning_rate": 1e-2, "warmup": 0})
    expected = by_hand(small.model("gpt2", initializer_range=0.1).eval(), "gpt2")
    found = fine_tune_causal(module, reader, rows, rows, request, score=small.right(small.tokenizer()))
    assert found.course.scores is not None and found.course.scores[1] == 1.0
    assert found.course.held_out_losses is not None and found.course.held_out_losses[0] == pytest.approx(
        expected, abs=1e-5
    )
    assert reader.pad_token is None


def test_chats_teach_what_the_assistant_says() -> None:
    reader = small.tokenizer()
    reader.chat_template = small.CHAT
    rows, seen = small.chats(), []
    request = parse_request({"max_steps": 120, "batch_size": 3, "learning_rate": 1e-2, "warmup": 0})

    def score(module: Any) -> float:
        asked = [reader.apply_chat_template(chat[:1], tokenize=False).strip() for chat in rows.columns["messages"]]
        seen.append(small.written(module, small.tokenizer(), asked))
        return sum(one == other for one, other in zip(seen[-1], small.ANSWERS, strict=True)) / len(small.ANSWERS)

    found = fine_tune_causal(small.model("llama", **KINDS["llama"]), reader, rows, rows, request, score=score)
    assert found.course.scores is not None and found.course.scores[0] == 0.0 and found.course.scores[1] == 1.0
