"""The table of supported models in the docs, made from the sweep's cases and the facts. ``python -m tests.sweep.table``
writes it; a test fails while the committed one is another."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import transformers

from QEfficient.architectures import Architecture, find
from QEfficient.architectures.table import TABLE
from tests.sweep.all_cases import CASES
from tests.sweep.case import Case, Kind

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "supported_models.md"

TITLES: dict[Kind, str] = {
    "text encoder": "Text encoders",
    "text decoder": "Decoder-type embedders",
    "encoder half": "Encoder halves of sequence-to-sequence models",
    "vision": "Vision encoders",
    "audio": "Audio encoders",
    "text and vision": "Text and vision",
}

WRITERS = """
## Models that write text

A tiny model of each of these writes the tokens of HuggingFace's in `tests/generation/`, in chunks of several lengths,
over slots, on onnxruntime, on OpenVINO and on an emulated card. *Longest context* is the limit with the default config:
the most that `ctx_len` may be; LongRoPE and dynamic NTK bound it to the length of the first training. Angles that are
scaled once and for all (`linear`, `llama3`, `yarn`) are HuggingFace's.

`QEFFAutoModelForCausalLM` tries other decoders: their layers keep what the config says (`num_key_value_heads`,
`head_dim`, `layer_types`, `sliding_window`), and the graph is compared with HuggingFace's, `verify="off"` or not. Where
it differs, or the model takes no such cache, the type is refused with the reason. State-space models, encoder-decoders
and models of images or sound are refused at once.

| type | longest context | what its layers keep |
|---|---|---|
"""

ABOUT_SOURCES = """
## Models that write about a source

`QEFFAutoModelForSeq2SeqLM` takes these, an encoder with its decoder; other types are refused by name. A tiny model of
each writes the tokens of HuggingFace's in `tests/generation/`, greedily and with beams. *Longest source* is the limit
with the default config, of `encoder_ctx_len` and `ctx_len` alike.

| type | longest source | note |
|---|---|---|
"""

HEAD = """# Supported models

Each type of this page is a tiny random model in `tests/sweep/`, where its program on the host and on an emulated card
is compared with HuggingFace's own numbers: all of them by `make sweep`, a third a day by `make test`. A type that is
not here is tried: its graph is compared with HuggingFace's after export, and refused when it differs.

- *Inputs* are those of the graph with the type's default config.
- *Longest row* is the limit with the default config, in tokens, and the entries of `config.json` that it is made from.
- *Padding* "no" means that HuggingFace's own numbers for a row depend on the padding beside it. Such rows run only with
  others of exactly their length; on a card a row must fill a compiled shape exactly.
"""


class _Asked(dict[str, Any]):
    """An empty config that remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        self.names.append(key)
        return default


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for kind, title in TITLES.items():
        cases = {case.model_type: case for case in reversed(CASES) if case.kind == kind}
        served = sorted(name for name, case in cases.items() if not case.refused)
        refused = sorted(set(cases) - set(served))
        if served:
            parts.append(f"\n## {title}\n\n| type | inputs | longest row | padding | note |\n|---|---|---|---|---|\n")
            parts.extend(_row(cases[name]) for name in served)
        if refused:
            parts.append("\nRefused, before anything is exported:\n\n| type | reason |\n|---|---|\n")
            parts.extend(f"| `{name}` | {_reason(cases[name])} |\n" for name in refused)
    parts.append(WRITERS)
    parts.extend(_writer(find(name)) for name in sorted(TABLE) if find(name).caches is not None)
    parts.append(ABOUT_SOURCES)
    sources = [find(name) for name in sorted(TABLE) if find(name).crosses is not None]
    parts.extend(f"| `{facts.model_type}` | {_limit(facts)} | {_note(facts)} |\n" for facts in sources)
    return "".join(parts)


def defaults(case: Case) -> dict[str, Any]:
    """transformers' own default config of a type."""
    config = getattr(transformers, case.model_class).config_class
    found: dict[str, Any] = config().to_dict()
    return found


def graph_inputs(facts: Architecture, config: Mapping[str, Any], types: int | None = None) -> list[str]:
    """Names of a graph's inputs, from the facts and the number of token types that the model's config has."""
    if facts.inputs is not None:
        return [spec.name for spec in facts.inputs(config)]
    found = ["input_ids", "attention_mask"] + ["token_type_ids"] * ((types or 0) > 1)
    return list(dict.fromkeys([*found, *(one.name for one in facts.more(config))]))


def _row(case: Case) -> str:
    facts = find(case.model_type)
    types = defaults(case).get("type_vocab_size") if facts.inputs is None else None
    names = ", ".join(f"`{name}`" for name in graph_inputs(facts, {}, types))
    padding = "yes" if facts.pads({}) else "no"
    if not facts.has_length({}):
        padding = "one size"
    return f"| `{facts.model_type}` | {names} | {_limit(facts)} | {padding} | {_note(facts)} |\n"


def _writer(facts: Architecture) -> str:
    kept = (getattr(facts.layers_keep(), "__doc__", None) or "").partition(": ")[2].rstrip(".")
    return f"| `{facts.model_type}` | {_limit(facts)} | {kept} |\n"


def _limit(facts: Architecture) -> str:
    asked = _Asked()
    limit = facts.max_length(asked)
    if limit is None:
        return "any" if facts.has_length({}) else "–"
    names = dict.fromkeys(name for name in asked.names if not name.startswith("rope"))
    return f"{limit}: {', '.join(f'`{name}`' for name in names)}"


def _note(facts: Architecture) -> str:
    """What a type's line of the table says of it, or the first sentence of its file."""
    if facts.model_type in TABLE:
        said = TABLE[facts.model_type].note
    else:
        name = facts.model_type.replace("-", "_")
        said = (importlib.import_module(f"QEfficient.architectures.{name}").__doc__ or "").strip().split("\n\n")[0]
    return " ".join(said.split()).replace("|", "\\|")


def _reason(case: Case) -> str:
    return str(find(case.model_type).refused(case.config))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
