"""``summarize`` on a model that means something: it reads a report of some sentences and writes its headline."""

from __future__ import annotations

import pytest
import torch
import transformers

from QEfficient import QEFFAutoModelForSeq2SeqLM
from tests import toy_summaries

EVERY = 100  # held-out reports


@pytest.mark.slow
def test_reports_that_it_never_saw_are_summarised_as_transformers_does() -> None:
    folder = toy_summaries.folder()
    reports, headlines = zip(*toy_summaries.held_out()[:EVERY], strict=True)
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(folder)
    model.compile(backend="onnxruntime", ctx_len=40, encoder_ctx_len=160)
    found = model.summarize(list(reports))
    assert sum(mine == wanted for mine, wanted in zip(found, headlines, strict=True)) >= 0.95 * EVERY
    module = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        batch = tokenizer([toy_summaries.PREFIX + report for report in reports], return_tensors="pt", padding=True)
        rows = module.generate(**batch, num_beams=4, max_length=32)
    assert found == tokenizer.batch_decode(rows, skip_special_tokens=True)
    model.close()
