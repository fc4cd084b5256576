"""One virtual environment for each set of peers that can live together, made by pip in a folder of the user's choice.

    python -m benchmarks.side_by_side.environments .bench [name ...]

The versions are the newest that pip finds together, pinned, so that a table can be made again. torch goes first and
alone: its spec is an option, because which build is at hand depends on the machine and none of the others cares.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import venv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

TORCH = "torch==2.13.0"


@dataclass(frozen=True, slots=True)
class Environment:
    """What is installed, in this order.

    Attributes:
        torch: Whether torch is needed.
        packages: Requirements, resolved by pip in one go.
        bare: Requirements that are installed without what they ask for.
        why: What is odd about it.
    """

    torch: bool
    packages: tuple[str, ...]
    bare: tuple[str, ...] = ()
    why: str = ""


ENVIRONMENTS: Mapping[str, Environment] = {
    "transformers": Environment(True, ("sentence-transformers==6.2.0", "transformers==5.23.0")),
    "onnx": Environment(
        True,
        ("sentence-transformers[onnx]==5.7.0", "optimum-onnx[onnxruntime]==0.1.0", "ctranslate2==4.8.5"),
        why="optimum-onnx 0.1.0 asks for transformers below 4.58, sentence-transformers 6 for 5; CTranslate2's "
        "converter knows the older form of a config's rotary base",
    ),
    "openvino": Environment(
        True,
        (
            "sentence-transformers==6.2.0",
            "transformers>=5.0,<5.6",
            "huggingface-hub<1.22",
            "optimum==2.3.0",
            "openvino==2026.4.1",
            "openvino-tokenizers>=2026.4",
            "openvino-genai==2026.4.1",
            "nncf>=3.3.0",
            "requests>=2.33",
            "setuptools",
        ),
        bare=("optimum-intel==2.2.0",),
        why="optimum-intel lists torchvision, whose build must fit torch's; no text model imports it: it is left out",
    ),
    "fastembed": Environment(False, ("fastembed==0.9.1",)),
    "onnxruntime-genai": Environment(
        True,
        ("onnxruntime-genai==0.18.0", "transformers==5.24.0", "onnx-ir==1.1.0"),
        why="its model builder needs torch, transformers and onnx-ir",
    ),
    "llama.cpp": Environment(
        False,
        ("llama-cpp-python==0.3.36", "gguf==0.19.0"),
        why="there is no wheel of it: pip compiles it with the C++ compiler that is there",
    ),
}


def python_of(folder: Path, name: str) -> Path:
    """The interpreter of an environment."""
    return folder / name / "bin" / "python"


def build(folder: Path, name: str, torch: str = TORCH) -> Path:
    """Makes an environment, or finds it made from the same requirements; the path of its interpreter.

    What pip printed stands in ``pip.log`` of the environment.

    Raises:
        subprocess.CalledProcessError: pip could not install it.
    """
    wanted, home = ENVIRONMENTS[name], folder / name
    sign = hashlib.sha256(json.dumps([asdict(wanted), torch, sys.version]).encode()).hexdigest()
    mark = home / "made_from"
    if mark.is_file() and mark.read_text(encoding="ascii") == sign:
        return python_of(folder, name)
    venv.create(home, clear=True, with_pip=True)
    steps: list[tuple[str, ...]] = [(torch,)] if wanted.torch else []
    steps.append(wanted.packages)
    steps += [("--no-deps", *wanted.bare)] if wanted.bare else []
    with (home / "pip.log").open("w", encoding="utf-8") as log:
        for step in steps:
            command = [str(python_of(folder, name)), "-m", "pip", "install", *step]
            subprocess.run(command, check=True, stdout=log, stderr=subprocess.STDOUT)
    mark.write_text(sign, encoding="ascii")
    return python_of(folder, name)


def build_all(folder: Path, names: Iterable[str], torch: str) -> dict[str, str]:
    """Makes what is missing, and says so on stderr; environment → why it could not be made."""
    failed = {}
    for name in names:
        print(f"environment {name}", file=sys.stderr, flush=True)
        try:
            build(folder, name, torch)
        except subprocess.CalledProcessError:
            log = (folder / name / "pip.log").read_text(encoding="utf-8").splitlines()
            failed[name] = next((line for line in reversed(log) if line.startswith("ERROR")), "pip failed")
    return failed


def main() -> None:
    """Builds those that are named, or all, and says which could not be built."""
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(ENVIRONMENTS)
    for name in names:
        try:
            print(f"{name}: {build(folder, name)}", flush=True)
        except subprocess.CalledProcessError:
            log = (folder / name / "pip.log").read_text(encoding="utf-8").splitlines()
            print(f"{name}: not built\n" + "\n".join(log[-8:]), flush=True)


if __name__ == "__main__":
    main()
