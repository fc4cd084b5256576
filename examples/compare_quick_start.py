"""Runs quick_start.py, then compares the very vector that it printed with HuggingFace's own in fp32."""

import runpy
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

example = runpy.run_path(str(Path(__file__).with_name("quick_start.py")))
inputs, ours = example["inputs"], example["output"]["output"][0].astype(np.float64)

model = AutoModel.from_pretrained("sentence-transformers/all-MiniLM-L6-v2", dtype=torch.float32).eval()
with torch.no_grad():
    tokens = model(**inputs).last_hidden_state[0].double().numpy()
mask = inputs["attention_mask"][0].double().numpy()
theirs = (tokens * mask[:, None]).sum(axis=0) / mask.sum()

cosine = float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))
print(f"cosine to HuggingFace fp32: {cosine:.7f}")
sys.exit(0 if cosine >= 0.99999 else "The vector differs from HuggingFace's by more than 0.99999 allows.")
