"""The backend of docs/how-to/add_a_backend.md, put where the page says: for a test, or for a child process."""

import re
import sys
from types import MappingProxyType, ModuleType

from QEfficient.backends import registry
from tests.repo.run_blocks import blocks
from tests.repo.source import ROOT

PAGE = ROOT / "docs" / "how-to" / "add_a_backend.md"
BACKEND, USE, SUITE = (
    compile("\n" * line + code, str(PAGE), "exec") for line, code in blocks(PAGE.read_text())
)  # all the blocks of the page
LINE = "".join(re.findall(r"^```text\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def install() -> ModuleType:
    """The backend's module, as if its file stood there."""
    module = ModuleType("reference_backend")
    exec(BACKEND, module.__dict__)
    sys.modules[module.__name__] = module
    return module


def main() -> None:
    """What a reader of the page does: writes the file, adds the line to the table, uses the backend."""
    module = install()
    line = eval(f"{{{LINE}}}", vars(registry))
    registry.BACKENDS = MappingProxyType({**registry.BACKENDS, **line})
    used = dict(vars(module))
    exec(USE, used)
    model = used["model"]
    assert model.device_report()["backend"] == "reference"
    model.compile(backend="onnxruntime", seq_len=16)
    difference = abs(model.encode(["A cat sits on a mat.", "My name is"]) - used["vectors"]).max()
    assert difference < 1e-5, difference


if __name__ == "__main__":
    main()
