"""Runs generate_quick_start.py, then asks HuggingFace's own model in fp32 the same: are the tokens equal?"""

import runpy
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

example = runpy.run_path(str(Path(__file__).with_name("generate_quick_start.py")))
again = example["model"].stream(example["question"])
"".join(again)  # to its end
ours = list(again.ids)

name = "HuggingFaceTB/SmolLM2-135M-Instruct"
tokenizer = AutoTokenizer.from_pretrained(name)
prompt = tokenizer.apply_chat_template(example["question"], add_generation_prompt=True, return_tensors="pt")
model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
with torch.no_grad():
    whole = model.generate(**prompt, do_sample=False, max_new_tokens=len(ours))
theirs = whole[0, prompt["input_ids"].shape[1] :].tolist()

equal = sum(a == b for a, b in zip(ours, theirs, strict=False))
print(f"tokens equal to HuggingFace fp32: {equal} of {len(theirs)}")
sys.exit(0 if ours == theirs else "The tokens differ from HuggingFace's.")
