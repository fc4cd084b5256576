"""A sentencepiece model and a vocabulary that is not its own → tokenizers. Runs only while a program is being made.

Marian and M2M100 cut a text with sentencepiece and look the pieces up in a ``vocab.json``, whose ids are others. The
tokenizers library has one table for both, so its table is laid out by the vocabulary's ids: a piece that the
vocabulary lacks gets an id behind all of them, which the reader turns into the unknown token; an id whose piece
sentencepiece does not make gets a name that stands in no text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer

_SPACE = "▁"
_UNIGRAM, _BPE = 1, 2  # sentencepiece's TrainerSpec.ModelType
_NORMAL, _USER_DEFINED, _UNUSED = 1, 4, 5  # its SentencePiece.Type: those that a text is cut into, and one that is not
_NOWHERE = "\ufdd0"  # a noncharacter: Unicode gives it to programs, not to texts
_MANY = 2**16  # spaces before a text


class OddModelError(Exception):
    """Why a sentencepiece model has no form in the tokenizers library."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer's own table.

    Attributes:
        ids: Token → id, added tokens among them.
        unknown: The token for what it does not know.
        added: Tokens that are looked for in a text before it is cut, with what the tokenizer says of them.
    """

    ids: Mapping[str, int]
    unknown: str
    added: tuple[AddedToken, ...]

    @property
    def size(self) -> int:
        """Every id is below this."""
        return 1 + max(self.ids.values())


def reader_of(model: Path, vocabulary: Vocabulary) -> FastTokenizer:
    """What cuts texts as the sentencepiece model does, and gives the vocabulary's ids.

    Ids from ``vocabulary.size`` on are of pieces that it lacks. Nothing is put around a text.

    Raises:
        OddModelError: The model does what the tokenizers library has no form for.
    """
    proto = _proto(model)
    _check(proto)
    pieces = {piece.piece: piece.score for piece in proto.pieces if piece.type == _NORMAL}
    names = _names(pieces, vocabulary)
    if proto.trainer_spec.model_type == _BPE:
        table = {name: place for place, name in enumerate(names)}
        made: Any = models.BPE(vocab=table, merges=_merges(proto), unk_token=vocabulary.unknown, fuse_unk=True)
    else:
        unknown = vocabulary.ids[vocabulary.unknown]
        made = models.Unigram([(name, pieces.get(name, 0.0)) for name in names], unknown, byte_fallback=False)
    backend = FastTokenizer(made)
    backend.normalizer = normalizers.Sequence(_normalizers(proto.normalizer_spec))
    if proto.normalizer_spec.add_dummy_prefix:
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always", split=False)
    _add(backend, vocabulary.added)
    return backend


def writer_of(tokens: Mapping[int, str], unknown: str, added: Iterable[AddedToken]) -> FastTokenizer:
    """What writes text of ids, as sentencepiece joins pieces; the spaces before it are taken away.

    Those behind it are not: the library's ``Strip`` fails on a text of nothing else (tokenizers 0.23).

    Args:
        tokens: Id → token, of all ids that may come.
        unknown: The token for what the vocabulary does not know.
        added: Tokens that are written as they are, the special ones among them.
    """
    backend = FastTokenizer(models.WordLevel({name: place for place, name in tokens.items()}, unk_token=unknown))
    steps = [decoders.Replace(_SPACE, " "), decoders.Fuse(), decoders.Strip(" ", _MANY, 0)]
    backend.decoder = decoders.Sequence(steps)
    _add(backend, tuple(added))
    return backend


def _proto(model: Path) -> Any:
    from sentencepiece import sentencepiece_model_pb2

    messages: Any = sentencepiece_model_pb2
    proto = messages.ModelProto()
    proto.ParseFromString(model.read_bytes())
    return proto


def _check(proto: Any) -> None:
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    odd = {
        f"its model type is {trainer.model_type}": trainer.model_type not in (_UNIGRAM, _BPE),
        "it falls back to bytes": trainer.byte_fallback,
        "a space belongs to the word before it": trainer.treat_whitespace_as_suffix,
        "it keeps spaces as they are": not normalizer.escape_whitespaces,
        "it has a denormalizer": bool(proto.denormalizer_spec.precompiled_charsmap),
        "it has pieces that are never cut, or never used": any(
            piece.type in (_USER_DEFINED, _UNUSED) for piece in proto.pieces
        ),
    }
    if found := [what for what, holds in odd.items() if holds]:
        raise OddModelError(f"of its sentencepiece model, {' and '.join(found)}")


def _names(pieces: Mapping[str, float], vocabulary: Vocabulary) -> list[str]:
    """The name of each id: the vocabulary's, as far as a text is cut into it, then the pieces that it lacks."""
    names = [f"{_NOWHERE}{place}" for place in range(vocabulary.size)]
    kept = {token.content for token in vocabulary.added} | {vocabulary.unknown}
    for name, place in vocabulary.ids.items():
        if name in pieces or name in kept:
            names[place] = name
    return [*names, *(piece for piece in pieces if piece not in vocabulary.ids)]


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Pairs in the order in which sentencepiece joins them: the piece with the higher score first."""
    ranks = {piece.piece: (-piece.score, place) for place, piece in enumerate(proto.pieces) if piece.type == _NORMAL}
    found = [
        (*rank, piece[:cut], piece[cut:])
        for piece, rank in ranks.items()
        for cut in range(1, len(piece))
        if piece[:cut] in ranks and piece[cut:] in ranks
    ]
    return [(left, right) for _, _, left, right in sorted(found)]


def _normalizers(spec: Any) -> list[Any]:
    """Its steps, in sentencepiece's order."""
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    steps.append(normalizers.Replace(" ", _SPACE))
    if spec.add_dummy_prefix:  # Metaspace puts none before a text that begins with one
        steps.append(normalizers.Replace(Regex(rf"\A{_SPACE}"), _SPACE * 2))
    return steps


def _add(backend: FastTokenizer, added: tuple[AddedToken, ...]) -> None:
    for token in added:
        (backend.add_special_tokens if token.special else backend.add_tokens)([token])
