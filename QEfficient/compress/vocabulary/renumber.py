"""New ids: which token gets which, and the tokenizer's JSON and the model's config with them."""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from QEfficient.compress.vocabulary.pieces import Pieces, merged, pair_of
from QEfficient.records import Json

_OTHER_NAMES = (
    "pad_index bos_index eos_index unk_index mask_index suppress_tokens begin_suppress_tokens bad_words_ids "
    "forced_decoder_ids"
).split()
"""What configs call ids of tokens, but for what ends in ``_token_id``, ``_token_ids`` or ``_token_index``."""


def new_order(pieces: Pieces, kept: Collection[int], pad: int | None) -> tuple[int, ...]:
    """The old ids in the order of the new ones, so that the token with the new id ``n`` stands at place ``n``.

    The order stays, in three blocks: the model's tokens, those that were added to them (``tokenizers`` numbers these
    on), rows without a token. Where enough tokens stay below it, padding keeps its id: positions of RoBERTa and its kin
    are counted from there.

    Args:
        pieces: The tokenizer's.
        kept: Ids that stay.
        pad: The id of padding, if there is one.
    """
    own, known = pieces.of_model, set(pieces.ids.values())
    blocks = (
        sorted(token for token in kept if token in own),
        sorted(token for token in kept if token in known and token not in own),
        sorted(token for token in kept if token not in known),
    )
    first = blocks[0]
    if pad is not None and pad in first and pad < len(first):
        first.remove(pad)
        first.insert(pad, pad)
    return tuple(token for block in blocks for token in block)


def renumbered_tokenizer(pieces: Pieces, new: Mapping[int, int]) -> str:
    """The tokenizer's JSON with the tokens that stay, under their new ids.

    Args:
        pieces: The tokenizer's.
        new: Old id → new one, of those that stay.
    """
    content: dict[str, Any] = copy.deepcopy(dict(pieces.content))
    model = content["model"]
    if pieces.kind == "Unigram":
        order = sorted((place for place in range(len(model["vocab"])) if place in new), key=new.__getitem__)
        model["vocab"] = [model["vocab"][place] for place in order]
        model["unk_id"] = None if model["unk_id"] is None else new[model["unk_id"]]
    else:
        model["vocab"] = {name: new[token] for name, token in model["vocab"].items() if token in new}
    if pieces.kind == "BPE":
        stay = model["vocab"]
        pairs = ((merge, *pair_of(merge)) for merge in model["merges"])
        model["merges"] = [
            merge for merge, left, right in pairs if {left, right, merged(left, right, model)} <= stay.keys()
        ]
    for token in content["added_tokens"]:
        token["id"] = new[token["id"]]
    content["added_tokens"].sort(key=lambda token: token["id"])
    _renumber_post_processor(content.get("post_processor"), new)
    if content.get("padding"):
        content["padding"]["pad_id"] = new.get(content["padding"]["pad_id"], 0)
    return json.dumps(content, ensure_ascii=False)


def _renumber_post_processor(node: Json, new: Mapping[int, int]) -> None:
    if isinstance(node, list):
        for one in node:
            _renumber_post_processor(one, new)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ids":
                node[key] = [new[token] for token in value]
            elif key in ("sep", "cls") and isinstance(value, list):
                node[key] = [value[0], new[value[1]]]
            else:
                _renumber_post_processor(value, new)


def ids_in_config(config: Mapping[str, Json]) -> set[int]:
    """Every id of a token that a config names.

    >>> sorted(ids_in_config({"pad_token_id": 1, "eos_token_id": [2, 7], "bos_token_id": None, "vocab_size": 9}))
    [1, 2, 7]
    """
    return {token for _, value in _of_tokens(config) for token in _numbers(value)}


def renumbered_config(config: Mapping[str, Json], new: Mapping[int, int]) -> dict[str, Json]:
    """Those entries of a config that name tokens, with their new ids. An id that no table has stays as it is.

    >>> renumbered_config({"pad_token_id": 1, "eos_token_id": [2, 7], "vocab_size": 9}, {1: 0, 2: 1})
    {'pad_token_id': 0, 'eos_token_id': [1, 7]}
    """
    return {name: _renumbered(value, new) for name, value in _of_tokens(config)}


def _of_tokens(config: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    ends = ("_token_id", "_token_ids", "_token_index")
    for name, value in config.items():
        if (name.endswith(ends) or name in _OTHER_NAMES) and value is not None:
            yield name, value


def _numbers(value: Json) -> Iterator[int]:
    if isinstance(value, list):
        for one in value:
            yield from _numbers(one)
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        yield value


def _renumbered(value: Json, new: Mapping[int, int]) -> Json:
    if isinstance(value, list):
        return [_renumbered(one, new) for one in value]
    return new.get(value, value) if isinstance(value, int) and not isinstance(value, bool) else value
