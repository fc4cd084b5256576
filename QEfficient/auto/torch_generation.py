"""HuggingFace's own ``generate`` behind ours, and our record as its."""

from __future__ import annotations

from typing import Any

import numpy as np

from QEfficient.errors import UsageError
from QEfficient.export.isolated import isolated
from QEfficient.generation.forms import Asked
from QEfficient.generation.id_rows import padded
from QEfficient.generation.results import CloudAI100ExecInfo, GenerationOutput, PerfMetrics


def as_asked(found: GenerationOutput, whole: bool, tensors: bool, *, encoded: bool = False) -> Any:
    """What a program wrote, in the form that the call by ids asked for.

    Args:
        found: What was written.
        whole: Whether the caller wants the record, not its ids alone.
        tensors: Whether tensors came in, so that tensors are given.
        encoded: Whether the model has an encoder.
    """
    record = _as_tensors(found, encoded) if tensors else found
    return record if whole else record.sequences


def _as_tensors(found: GenerationOutput, encoded: bool) -> Any:
    """The record as transformers' own, of torch's tensors."""
    import torch
    from transformers.generation import utils

    def tensors(value: Any) -> Any:
        return tuple(map(tensors, value)) if isinstance(value, tuple) else torch.from_numpy(value)

    fields = {name: tensors(value) for name, value in found.items()}
    beams = "" if found.beam_indices is None else "Beam"
    kind = getattr(utils, f"Generate{beams}{'EncoderDecoder' if encoded else 'DecoderOnly'}Output")
    return kind(**fields)


@isolated
def torch_generate(model: Any, asked: Asked) -> Any:
    """The torch model's answer to a call: what its ``generate`` gives for ids; the vendor's record for prompts.

    Args:
        model: HuggingFace's module.
        asked: The call. Its keywords are transformers' own; ``generation_len`` is ``max_new_tokens``.

    Raises:
        UsageError: Prompts without a tokenizer.
    """
    import torch

    keywords = dict(asked.keywords)
    if "generation_len" in keywords:
        keywords["max_new_tokens"] = keywords.pop("generation_len")
    with torch.no_grad():
        if asked.prompts is not None:
            return _from_prompts(model, asked, keywords)
        ids = _tensor(asked.ids)
        mask = {} if asked.attention_mask is None else {"attention_mask": _tensor(asked.attention_mask)}
        if asked.tokenizer is not None:
            keywords["tokenizer"] = asked.tokenizer
        found = model.generate(ids, **mask, **keywords)
    return found if hasattr(asked.ids, "detach") or not hasattr(found, "numpy") else found.numpy()


def _from_prompts(model: Any, asked: Asked, keywords: dict[str, Any]) -> CloudAI100ExecInfo:
    from time import perf_counter

    import torch

    tokenizer = asked.tokenizer
    if tokenizer is None:
        raise UsageError(
            "The torch model reads no text.",
            got="prompts without tokenizer",
            allowed="generate(tokenizer, prompts, runtime_ai100=False)",
            do="pass a tokenizer of transformers",
        )
    for name in ("stream", "automation", "iteration"):
        keywords.pop(name, None)
    began, answers = perf_counter(), []
    for prompt in asked.prompts or ():
        ids = torch.tensor([list(tokenizer(prompt)["input_ids"])])
        found = model.generate(ids, attention_mask=torch.ones_like(ids), **keywords)
        answers.append(found[0, ids.shape[1] :].tolist())
    total = perf_counter() - began
    pad = getattr(tokenizer, "pad_token_id", None)
    texts = [tokenizer.decode(answer, skip_special_tokens=True) for answer in answers]
    rate = sum(map(len, answers)) / total if total > 0 else 0.0
    return CloudAI100ExecInfo(
        1, texts, padded(answers, 0 if pad is None else pad), PerfMetrics(float("nan"), rate, rate, total)
    )


def _tensor(value: Any) -> Any:
    import torch

    return value if hasattr(value, "detach") else torch.from_numpy(np.asarray(value, np.int64))
