"""Small models and made-up rows of images, clips, masked words and choices, which are easily told apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import QEfficient
from tests import task_repos
from tests.tiny_repo import tiny_repo

RATE = 16000
_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_VISION = {**_SMALL, "image_size": 32, "patch_size": 8}
_AUDIO = {**_SMALL, "conv_dim": (32, 32), "conv_kernel": (10, 3), "conv_stride": (5, 4), "num_feat_extract_layers": 2}
_AUDIO |= {"apply_spec_augment": False, "feat_extract_norm": "layer", "classifier_proj_size": 32}
LETTERS = ["<pad>", "<unk>", "|", "A", "B"]
TONES = {"A": 0.05, "B": 0.6}
"""Letter → radians a sample of the tone that says it."""


@dataclass(frozen=True)
class Case:
    """Rows of a task, and how they are learnt.

    Attributes:
        auto_class: Ours, without the beginning that all share.
        rows: Of the task.
        keywords: Of ``fine_tune``.
        columns: The roles of the rows' columns, where they are called otherwise.
    """

    auto_class: str
    rows: list[Any]
    keywords: dict[str, Any]

    def load(self, repo: Path, **keywords: Any) -> Any:
        """The Auto object of a repo."""
        return getattr(QEfficient, f"QEFFAutoModelFor{self.auto_class}").from_pretrained(repo, **keywords)


def tone(letters: str, samples: int = 1600) -> np.ndarray[Any, Any]:
    """A tone a letter."""
    return np.concatenate([np.sin(np.arange(samples) * TONES[letter]) for letter in letters]).astype(np.float32)


def picture(number: int) -> np.ndarray[Any, Any]:
    """Dark if the number is even, else light; of many sizes."""
    return np.full((20 + number, 30, 3), 10 + 200 * (number % 2) + number % 9, np.uint8)


SAID = ["AB", "BA", "ABA", "BAB"] * 4
CASES = {
    "image-classification": Case(
        "ImageClassification",
        [{"image": picture(number), "label": ("dark", "light")[number % 2]} for number in range(16)],
        {"epochs": 4, "learning_rate": 3e-3},
    ),
    "audio-classification": Case(
        "AudioClassification",
        [
            {
                "audio": {"array": tone("AB"[number % 2], 900 + 40 * number), "sampling_rate": RATE},
                "label": "ab"[number % 2],
            }
            for number in range(16)
        ],
        {"epochs": 8, "learning_rate": 3e-3},
    ),
    "automatic-speech-recognition": Case(
        "CTC",
        [{"audio": {"array": tone(letters, 800), "sampling_rate": RATE}, "text": letters} for letters in SAID],
        {"epochs": 30, "learning_rate": 5e-3, "dropout": 0.0},
    ),
    "fill-mask": Case(
        "MaskedLM",
        [
            {"text": f"this is {word} and that [MASK] number {n}", "target": next_word}
            for n in range(8)
            for word, next_word in (("good", "is"), ("awful", "of"))
        ],
        {"epochs": 15, "learning_rate": 5e-3, "dropout": 0.0},
    ),
    "multiple-choice": Case(
        "MultipleChoice",
        [
            {"prompt": f"number {number}", "choices": choices, "label": choices.index("this is good")}
            for number in range(8)
            for choices in (["this is good", "awful"], ["awful", "this is good"])
        ],
        {"epochs": 8, "learning_rate": 3e-3},
    ),
}
"""Task → its rows."""


def repo(folder: Path, task: str) -> Path:
    """A tiny repo of a model that has no head of the task, or an untrained one."""
    if task in ("fill-mask", "multiple-choice"):
        return tiny_repo(folder)
    folder.mkdir(parents=True)
    if task == "image-classification":
        _saved(folder, "AutoModel", "vit", _VISION)
        task_repos.image_processor(folder)
    elif task == "audio-classification":
        _saved(folder, "AutoModel", "wav2vec2", _AUDIO)
        task_repos.speech_parts(folder, LETTERS)["feature_extractor"].save_pretrained(folder)
    else:
        _saved(folder, "AutoModelForCTC", "wav2vec2", _AUDIO | {"vocab_size": len(LETTERS), "pad_token_id": 0})
        for part in task_repos.speech_parts(folder, LETTERS).values():
            part.save_pretrained(folder)
    return folder


def _saved(folder: Path, auto_class: str, model_type: str, arguments: dict[str, Any]) -> None:
    import torch
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.AutoConfig.for_model(model_type, **arguments)
        getattr(transformers, auto_class).from_config(config).save_pretrained(folder)
