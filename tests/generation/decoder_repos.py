"""A tiny decoder as a repo: random weights, a tokenizer of bytes, a chat template, a generation config. No network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.generation.tiny_decoders import CONFIGS, LIMIT_KEYS, tiny_decoder

SPECIAL = ("<|end|>", "<|user|>", "<|assistant|>")
CHAT = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCAB = 256 + len(SPECIAL)


def byte_tokenizer() -> Any:
    """Every byte is a token: any text has one, in any script."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=SPECIAL[0], pad_token=SPECIAL[0], extra_special_tokens=list(SPECIAL[1:])
    )
    made.chat_template = CHAT
    return made


def decoder_repo(folder: Path, model_type: str = "llama", **changes: Any) -> Path:
    """Writes the repo.

    Args:
        folder: Made if needed.
        model_type: One of ``tiny_decoders.CONFIGS``.
        changes: Of its config.
    """
    limit = {key: 256 for key in LIMIT_KEYS if key in CONFIGS[model_type]}
    model = tiny_decoder(model_type, **{"vocab_size": VOCAB, **limit, **changes})
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    config = {"eos_token_id": 256, "pad_token_id": 256, "temperature": 0.7, "do_sample": False}
    (folder / "generation_config.json").write_text(json.dumps(config))
    return folder
