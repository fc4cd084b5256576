"""The machine, the environments' versions, what every worker finds in its environment, and why one failed."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "QEfficient",
    "torch",
    "transformers",
    "sentence-transformers",
    "optimum-onnx",
    "optimum-intel",
    "fastembed",
    "onnxruntime",
    "onnxruntime-genai",
    "openvino",
    "openvino-genai",
    "llama-cpp-python",
    "ctranslate2",
    "tokenizers",
    "numpy",
)
_VERSIONS = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
found = {}
for name in sys.argv[1:]:
    try: found[name] = version(name)
    except PackageNotFoundError: pass
print(json.dumps(found))
"""


def settings(folder: Path, threads: int) -> dict[str, str]:
    """The environment variables of every worker: the same threads for all, and no network.

    Args:
        folder: Where libraries keep what they make.
        threads: CPUs that each contender may use.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
    fixed = {
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT),
        "QEFF_HOME": str(folder / "home"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | dict.fromkeys(names, str(threads)) | fixed


def told(reason: str) -> str:
    """The last error of a traceback, its first line; of what is no traceback, the last line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(?:Error|Exception|Exit)\b", line)]
    return re.sub(r"^(?:\w+\.)+", "", (errors or lines or ["no reason given"])[-1])[:200]


def machine() -> dict[str, Any]:
    """What a reader needs to know of this machine."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    line = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in info.splitlines())}
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "cpu": line.get("model name", platform.machine()),
        "cpus": len(os.sched_getaffinity(0)),
        "has": [name for name in wanted if name in line.get("flags", "").split()],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "load": os.getloadavg()[0],
    }


def versions(python: Path) -> dict[str, str]:
    """The packages of an environment that matter."""
    done = subprocess.run([str(python), "-c", _VERSIONS, *PACKAGES], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
