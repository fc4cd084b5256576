"""Summarises the files that are named, one line for each.

python examples/summarize.py facebook/bart-large-cnn article.txt report.txt          reads one text, writes another
python examples/summarize.py HuggingFaceTB/SmolLM2-135M-Instruct article.txt         a model that chats: it is asked to
"""

import sys
from pathlib import Path

from transformers import AutoConfig

from QEfficient import QEFFAutoModelForCausalLM, QEFFAutoModelForSeq2SeqLM

name, *files = sys.argv[1:] if len(sys.argv) > 2 else sys.exit(__doc__)
texts = [" ".join(Path(file).read_text(encoding="utf-8").split()) for file in files]
if AutoConfig.from_pretrained(name).is_encoder_decoder:
    model = QEFFAutoModelForSeq2SeqLM.from_pretrained(name)
    model.compile()
    summaries = model.summarize(texts, overlong="split")
else:
    model = QEFFAutoModelForCausalLM.from_pretrained(name)
    model.compile()
    asked = [[{"role": "user", "content": f"Summarise this text in one sentence:\n\n{text}"}] for text in texts]
    summaries = model.chat(asked, max_new_tokens=64)
for file, summary in zip(files, summaries, strict=True):
    print(f"{file}: {' '.join(summary.split())}")
