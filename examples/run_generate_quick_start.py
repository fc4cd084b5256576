"""Runs the quick start of text generation without a model hub: `make quickstart-generate`.

As run_quick_start.py does it: a throw-away folder in the layout of the hub's cache holds the weights, and only the
child process is told about it.
"""

import sys
import tempfile
from pathlib import Path

from offline_hub_cache import run_offline, seed
from smollm2 import REPO, write

SCRIPT = Path(__file__).with_name("compare_generate_quick_start.py")


def main() -> int:
    """Returns the child's exit code."""
    with tempfile.TemporaryDirectory(prefix="qefficient-quick-start-") as folder:
        seed(write(Path(folder, "model")), REPO, Path(folder, "hub"), link=True)
        return run_offline(SCRIPT, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
