"""A fast tokenizer's tokens: which there are, of which others they are merged, which must stay."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from QEfficient.errors import UsageError
from QEfficient.records import Json

KINDS = ("WordPiece", "BPE", "Unigram")


@dataclass(frozen=True, slots=True)
class Pieces:
    """The tokens of a tokenizer.

    Attributes:
        content: Its JSON, as the ``tokenizers`` library writes it.
        kind: ``"WordPiece"``, ``"BPE"`` or ``"Unigram"``.
        ids: Token → id, of the model and of what was added to it.
        made_of: Of BPE: the id of a token → the pairs of tokens that are merged into it.
    """

    content: Mapping[str, Json]
    kind: str
    ids: Mapping[str, int]
    made_of: Mapping[int, tuple[tuple[int, int], ...]]

    @property
    def model(self) -> Mapping[str, Any]:
        """The model's part of the JSON."""
        found: Mapping[str, Any] = self.content["model"]
        return found

    @property
    def of_model(self) -> frozenset[int]:
        """Ids of the model's own tokens; others were added to it."""
        vocab = self.model["vocab"]
        return frozenset(range(len(vocab)) if self.kind == "Unigram" else vocab.values())


def read_pieces(content: str) -> Pieces:
    """Reads a tokenizer's JSON.

    Args:
        content: As ``backend_tokenizer.to_str()`` gives it.

    Raises:
        UsageError: The tokenizer is of a kind whose words have no smaller pieces.
    """
    read = json.loads(content)
    model = read["model"]
    kind = model.get("type")
    if kind not in KINDS:
        raise UsageError(
            "The vocabulary of this kind of tokenizer can't be pruned: a lost word would have no smaller pieces.",
            got=kind,
            allowed=", ".join(KINDS),
            do="keep the model as it is",
        )
    vocab = model["vocab"]
    ids = {piece: place for place, (piece, _) in enumerate(vocab)} if kind == "Unigram" else dict(vocab)
    made_of = _made_of(model, ids) if kind == "BPE" else {}
    ids |= {token["content"]: token["id"] for token in read["added_tokens"]}
    return Pieces(read, kind, ids, made_of)


def pair_of(merge: Any) -> tuple[str, str]:
    """The two tokens of a merge, which older files have as one string."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right


def merged(left: str, right: str, model: Mapping[str, Any]) -> str:
    """What a merge makes of two tokens, as ``tokenizers`` has it: the second one loses its prefix."""
    return left + right[len(model.get("continuing_subword_prefix") or "") :]


def _made_of(model: Mapping[str, Any], ids: Mapping[str, int]) -> dict[int, tuple[tuple[int, int], ...]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for left, right in map(pair_of, model["merges"]):
        found.setdefault(ids[merged(left, right, model)], []).append((ids[left], ids[right]))
    return {token: tuple(pairs) for token, pairs in found.items()}


def with_their_parts(pieces: Pieces, tokens: Iterable[int], there: Collection[int] = ()) -> set[int]:
    """These tokens, and all that any of their merges goes through; but for those that are there already.

    A word whose tokens all stay is then merged as before: each of its merges leads to one of them, so it is there, and
    none is there that was not.

    Args:
        pieces: The tokenizer's.
        tokens: Ids.
        there: Ids whose parts are known to stay.
    """
    found: set[int] = set()
    waiting = [token for token in tokens if token not in there]
    while waiting:
        token = waiting.pop()
        if token in found or token in there:
            continue
        found.add(token)
        waiting.extend(part for pair in pieces.made_of.get(token, ()) for part in pair)
    return found


def fixed(pieces: Pieces) -> set[int]:
    """Tokens that always stay, so that whatever is lost still has smaller pieces.

    Those that were added, the special ones among them; those that stand around each text; the token of what is unknown.
    All single characters, of WordPiece within words too; where a character falls back on its bytes, the bytes instead.
    And of Unigram the token with the least score: what is unknown costs 10 more than that, whatever else is there.
    """
    model, ids = pieces.model, pieces.ids
    stays = {token["id"] for token in pieces.content["added_tokens"]}
    stays |= set(_named_ids(pieces.content.get("post_processor")))
    named = (str(model.get("unk_token")), str((pieces.content.get("padding") or {}).get("pad_token")))
    stays |= {ids[name] for name in named if name in ids}
    if model.get("byte_fallback"):
        stays |= {ids[name] for name in (f"<0x{byte:02X}>" for byte in range(256)) if name in ids}
    else:
        stays |= {token for name, token in ids.items() if len(_bare(name, model)) == 1}
    if pieces.kind == "Unigram":
        vocab = model["vocab"]
        stays.add(min(range(len(vocab)), key=lambda place: vocab[place][1]))
        stays |= set() if model.get("unk_id") is None else {int(model["unk_id"])}
    return with_their_parts(pieces, stays)


def _bare(name: str, model: Mapping[str, Any]) -> str:
    """A token without what says where in a word it stands."""
    return name.removeprefix(model.get("continuing_subword_prefix") or "").removesuffix(
        model.get("end_of_word_suffix") or ""
    )


def _named_ids(node: Json) -> Iterable[int]:
    """Ids in a post-processor: of templates, and of those of BERT and RoBERTa."""
    if isinstance(node, list):
        for one in node:
            yield from _named_ids(one)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "ids":
                yield from map(int, value)
            elif key in ("sep", "cls") and isinstance(value, list):
                yield int(value[1])
            else:
                yield from _named_ids(value)
