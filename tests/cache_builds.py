"""Light stand-ins for export and compile, importable from child processes."""

import os
import time
from pathlib import Path

from QEfficient.cache import Cache, write_envelope

NAME, STAGE = "org/tiny", "onnx"
KEY = {"weights": {"model.safetensors": "ab" * 32}, "pooling": ["mean"], "opset": 18}
FILES = {f"part-{i}.bin": bytes([i]) * (40_000 + i) for i in range(4)} | {"deep/er/last.bin": b"last"}


def build(folder: Path, *, pause: float = 0.0, key: dict[str, object] | None = None) -> None:
    """Several files, some in a subfolder, and the seal."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        time.sleep(pause)
    write_envelope(folder, stage=STAGE, key=KEY if key is None else key, versions={"QEfficient": "1"}, body={})


def build_once(counter: Path) -> tuple[str, bool, bytes]:
    """For a pool of processes: gets the entry, counting builds in a file."""

    def counted(folder: Path) -> None:
        with open(counter, "ab") as file:
            file.write(b"x")
        build(folder, pause=0.05)

    path, hit = Cache().get_or_build(NAME, STAGE, KEY, counted)
    return str(path), hit, (path / "part-1.bin").read_bytes()


def assert_right(path: Path) -> None:
    """The entry holds what ``build`` writes, and nothing else."""
    found = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert found.pop("qefficient.json")
    assert found == FILES


def leftovers(home: Path) -> list[str]:
    """What is in the folder of work folders."""
    return os.listdir(home / "tmp") if (home / "tmp").exists() else []
