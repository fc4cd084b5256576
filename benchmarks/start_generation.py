"""From a fresh process to the first token: a saved program beside transformers, both on files that are warm.

    python benchmarks/start_generation.py FOLDER [--runs 5] [--program FOLDER]

``FOLDER`` holds a model that writes text, as HuggingFace saves it, with its tokenizer. It is compiled first, unless
``--program`` names a saved program of it. Each run is a process of its own that reads one prompt of 37 tokens or so,
and writes one token. The two sides alternate; the median of each is printed, and CPU time (user and system, all
threads) moves less than seconds do when the machine has other work. Peak memory is that of the whole process.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from startup import Run, run

PROMPT = (
    "The history of the city begins with a small harbour, where ships from the north brought wool, salt and timber "
    "every summer, and took back wine, cloth and the news of the"
)

COMPILE = """
import sys
from QEfficient import QEFFAutoModelForCausalLM
model = QEFFAutoModelForCausalLM.from_pretrained(sys.argv[1])
model.compile(backend="onnxruntime")
model.save_pretrained(sys.argv[2])
"""
OURS = """
import contextlib, sys
from QEfficient import QEFFAutoModelForCausalLM
model = QEFFAutoModelForCausalLM.from_pretrained(sys.argv[1])
with contextlib.redirect_stdout(sys.stderr):  # as the vendor's, generate prints
    answer = model.generate(prompts=[sys.argv[2]], max_new_tokens=1)
sys.stdout.write(answer.generated_texts[0])
assert "torch" not in sys.modules
"""
THEIRS = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
inputs = tokenizer(sys.argv[2], return_tensors="pt")
ids = model.generate(**inputs, max_new_tokens=1, do_sample=False)
sys.stdout.write(tokenizer.decode(ids[0, inputs["input_ids"].shape[1]:]))
"""


def main() -> None:
    """Prints both sides, after a check that both wrote the same token."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--program")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        environment = os.environ | {"QEFF_HOME": scratch + "/programs", "HF_HUB_OFFLINE": "1"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code, as the others do
        program = chosen.program or scratch + "/program"
        if chosen.program is None:
            run(["-c", COMPILE, chosen.folder, program], environment)
        sides = {"QEfficient": ["-c", OURS, program, PROMPT], "transformers": ["-c", THEIRS, chosen.folder, PROMPT]}
        for arguments in sides.values():
            run(arguments, environment)  # not counted: fills the file cache for both
        measured: dict[str, list[Run]] = {name: [] for name in sides}
        for _ in range(chosen.runs):
            for name, arguments in sides.items():
                measured[name].append(run(arguments, environment))
    report(measured)


def report(measured: dict[str, list[Run]]) -> None:
    """Prints the table."""
    ours, theirs = measured.values()
    if (words := {one.printed for one in (*ours, *theirs)}) and len(words) != 1:
        raise SystemExit(f"the two sides wrote different tokens: {sorted(words)}")
    print(f"{'from process start to first token':36}" + "".join(f"{name:>16}" for name in measured) + f"{'ratio':>8}")
    for i, what in enumerate(("seconds", "seconds of CPU time", "peak memory, MB")):
        our, their = (statistics.median(float(one[i]) for one in runs) for runs in (ours, theirs))
        print(f"{what:36}{our:16.2f}{their:16.2f}{our / their:8.3f}")


if __name__ == "__main__":
    main()
