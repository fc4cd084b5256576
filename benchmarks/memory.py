"""Peak memory of export and graph passes, for a BERT with random weights. A child process is measured.

    python benchmarks/memory.py            # 1.3 GB of weights
    python benchmarks/memory.py --layers 6 # smaller and quicker

The peak is the child's greatest resident set (``ru_maxrss``), libraries included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def peak_mb() -> float:
    """This process's peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(layers: int, hidden: int) -> None:
    """Builds, exports and transforms; prints the peak after each step."""
    import torch
    import transformers

    from QEfficient.architectures import find
    from QEfficient.export.exporter import export
    from QEfficient.onnx_transforms import apply
    from QEfficient.pytorch_transforms.blocks import exportable
    from QEfficient.pytorch_transforms.embedding import EmbeddingModule, graph_inputs
    from QEfficient.pytorch_transforms.head import Head

    print(f"libraries            {peak_mb():7.0f} MB")
    config = transformers.BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64, intermediate_size=4 * hidden
    )
    with torch.device("meta"):
        model = transformers.BertModel(config, add_pooling_layer=False)
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
        model.embeddings.position_ids.copy_(torch.arange(512))
        model.embeddings.token_type_ids.zero_()
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
    print(f"weights              {weights:7.0f} MB")
    print(f"model built          {peak_mb():7.0f} MB")
    architecture = find("bert")
    twin, swapped = exportable(model, architecture.swaps())
    print(f"{len(swapped):2d} blocks swapped    {peak_mb():7.0f} MB")
    module = EmbeddingModule(twin, Head.of("mean"), graph_inputs(twin), "additive")
    with tempfile.TemporaryDirectory() as work:
        raw = Path(work) / "raw"
        raw.mkdir()
        start = time.perf_counter()
        exported = export(module, inputs=module.inputs, folder=raw, length_limit=512)
        print(f"exported             {peak_mb():7.0f} MB  {time.perf_counter() - start:5.1f} s")
        start = time.perf_counter()
        apply(exported, Path(work) / "done")
        print(f"graph passes         {peak_mb():7.0f} MB  {time.perf_counter() - start:5.1f} s")
    print(f"allowed: 1.3 x weights + 900 MB = {1.3 * weights + 900:.0f} MB")


def main() -> None:
    """Starts the child that is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        measure(chosen.layers, chosen.hidden)
    else:
        command = [sys.executable, __file__, "--child", f"--layers={chosen.layers}", f"--hidden={chosen.hidden}"]
        sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
