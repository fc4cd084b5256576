"""The keywords of transformers' ``from_pretrained``: brought to one form, or refused."""

from __future__ import annotations

from typing import Any

from QEfficient.errors import UsageError


def check_keywords(keywords: dict[str, Any]) -> None:
    """Brings HF keywords to one form, and refuses what can't be honoured."""
    if "torch_dtype" in keywords:
        keywords["dtype"] = keywords.pop("torch_dtype")
    if "dtype" in keywords:
        keywords["dtype"] = str(keywords["dtype"]).removeprefix("torch.")
    attention = keywords.pop("attn_implementation", "eager")
    if attention != "eager":
        raise UsageError(
            "Only the eager attention exports to a graph that every backend takes.",
            got=f"attn_implementation={attention!r}",
            allowed='"eager", or leave it out',
            do="drop attn_implementation",
        )
    keywords.pop("adapter_name", None)  # what transformers calls the adapter in memory: it is merged here
    if any(value is not None for value in (keywords.pop("adapter_kwargs", None) or {}).values()):
        raise UsageError(
            "An adapter is found as its model is; it takes no keywords of its own.",
            got="adapter_kwargs",
            allowed="revision, token, cache_dir, local_files_only, force_download and subfolder of from_pretrained",
            do="pass these to from_pretrained itself, or the adapter's own folder or id as the model",
        )
    if keywords.get("device_map") is not None:
        check_device("device_map", keywords["device_map"])


def check_device(name: str, device: object) -> None:
    """Refuses to move the torch model anywhere.

    Args:
        name: The keyword or method that names the device.
        device: What it names.

    Raises:
        UsageError: Any device but the CPU.
    """
    if str(device) not in ("cpu", "cpu:0"):
        raise UsageError(
            "The torch model is only the source of the export; it stays on the CPU.",
            got=f"{name}: {device!r}",
            allowed='"cpu"',
            do="choose where the program runs with compile(backend=…) and generate(device_ids=…)",
        )
