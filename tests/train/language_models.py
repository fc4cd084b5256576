"""Tiny language models with a tokenizer of whole words, and mappings that can only be learnt by heart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from QEfficient.evaluate.record import Examples
from QEfficient.train.language_rows import CAUSAL, SEQ2SEQ, read_language_rows

SPECIAL = ("<pad>", "</s>", "<unk>", "<s>")
QUESTIONS = [f"what is {first} of {second}" for first in ("red", "blue", "old") for second in ("cats", "dogs", "birds")]
ANSWERS = ["one two", "three", "four five six", "two one", "six", "five", "one six two", "four", "three three"]
"""The answers to the questions, of unequal length and without a rule."""

WORDS = (
    "what",
    "is",
    "of",
    "red",
    "blue",
    "old",
    "cats",
    "dogs",
    "birds",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
)
CHAT = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + ' </s>' }}{% endgeneration %}"
    "{% else %}{{ '<s> ' + message['content'] + ' ' }}{% endif %}{% endfor %}"
)
"""A template that marks what the assistant says."""

_LLAMA = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_BART = {
    **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in (("layers", 1), ("ffn_dim", 64))},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4, "d_model": 32, "dropout": 0.0},
    "forced_eos_token_id": None,
}
_CONFIGS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**_LLAMA, "num_key_value_heads": 2, "max_position_embeddings": 64}),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
        | dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4, "dropout_rate": 0.0},
    ),
    "bart": ("BartConfig", "BartForConditionalGeneration", {**_BART, "max_position_embeddings": 64}),
    "marian": ("MarianConfig", "MarianMTModel", {**_BART, "max_position_embeddings": 64}),
}
_SEQ2SEQ = ("t5", "bart", "marian")


def model(kind: str, **changes: Any) -> Any:
    """The same weights each time."""
    config, name, arguments = _CONFIGS[kind]
    start = {"decoder_start_token_id": 0} if kind in _SEQ2SEQ else {}
    special = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, **start}
    size = len(SPECIAL) + len(WORDS)
    made = getattr(transformers, config)(**{**arguments, **special, "vocab_size": size, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return getattr(transformers, name)(made)


def tokenizer(*, ends: bool = False, **changes: Any) -> Any:
    """Whole words.

    Args:
        ends: Whether it puts ``</s>`` behind a text by itself.
        changes: Arguments of the tokenizer; ``None`` leaves a special token out.
    """
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if ends:
        core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **changes}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=core, **special)


def completions(times: int = 1) -> Examples:
    """Questions and their answers, for a model that writes on."""
    return read_language_rows({"prompt": QUESTIONS * times, "completion": ANSWERS * times}, CAUSAL)


def targets(times: int = 1) -> Examples:
    """The same for one that reads and writes."""
    return read_language_rows({"source": QUESTIONS * times, "target": ANSWERS * times}, SEQ2SEQ)


def chats() -> Examples:
    """The same as chats of two turns each."""
    rows = [
        [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
            {"role": "user", "content": "what is"},
            {"role": "assistant", "content": "six"},
        ]
        for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    return read_language_rows({"messages": rows}, CAUSAL)


def written(module: Any, reader: Any, questions: Sequence[str] = QUESTIONS) -> list[str]:
    """What the model answers, greedily."""
    found = []
    for question in questions:
        given = reader(question, return_tensors="pt")["input_ids"]
        ids = module.generate(input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=8, do_sample=False)
        new = ids[0, 0 if module.config.is_encoder_decoder else given.shape[1] :]
        found.append(reader.decode(new, skip_special_tokens=True))
    return found


def right(reader: Any) -> Any:
    """A score: the share of questions that are answered word for word."""

    def score(module: Any) -> float:
        answers = written(module, reader)
        return sum(one == other for one, other in zip(answers, ANSWERS, strict=True)) / len(ANSWERS)

    return score
