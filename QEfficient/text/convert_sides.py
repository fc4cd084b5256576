"""A translation model's tokenizer → what reads its sources and writes its targets without transformers.

Runs only while a program is being made.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.processors import TemplateProcessing

from QEfficient.records import Json, TextFacts
from QEfficient.text.convert import NotPortableError, converted, without_advice
from QEfficient.text.facts import NO_LIMIT, TOKENIZER, tokenizer_files
from QEfficient.text.samples import SAMPLES
from QEfficient.text.sides import SOURCE, TARGET, WRITER, Place, SourceReader, TextSides, save_sides
from QEfficient.text.tokenizer import Tokenizer
from QEfficient.text.translation_pieces import OddModelError, Vocabulary, reader_of, writer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SENTENCEPIECE_FILES = ("source.spm", "sentencepiece.bpe.model")
_FLORES = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
"""A language of NLLB: its code and its script, as ``eng_Latn``."""
_CHECKED_LANGUAGES = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Converted:
    """What came of a tokenizer.

    Attributes:
        sides: What stands around texts; or why there are ids only.
        reader: What reads sources; ``None`` with ids only.
        writer: What writes targets; ``None``: the reader does.
    """

    sides: TextSides
    reader: FastTokenizer | None = None
    writer: FastTokenizer | None = None


def write_sides(folder: Path, dest: Path, keywords: Mapping[str, Json] | None = None) -> str | None:
    """Writes what reads sources, what writes targets where that is another, and ``sides.json``.

    Args:
        folder: The folder with the tokenizer's files.
        dest: An existing folder.
        keywords: As ``AutoTokenizer.from_pretrained`` takes them.

    Returns:
        The name of what reads sources; ``None``: the program takes ids only, and ``sides.json`` says why.
    """
    found = portable_sides(folder, keywords)
    save_sides(found.sides, dest)
    if found.reader is None:
        _log.warning("The program of %s takes ids only, not strings: %s.", folder, found.sides.ids_only)
        return None
    found.reader.save(str(dest / TOKENIZER))
    if found.writer is not None:
        found.writer.save(str(dest / WRITER))
    return TOKENIZER


def portable_sides(folder: Path, keywords: Mapping[str, Json] | None = None) -> Converted:
    """Both sides of the folder's tokenizer, checked against transformers' on texts in many scripts.

    Args:
        folder: The folder with the tokenizer's files.
        keywords: As ``AutoTokenizer.from_pretrained`` takes them.
    """
    if not tokenizer_files(folder):
        return Converted(TextSides(ids_only="its folder has no tokenizer"))
    try:
        tokenizer = load_tokenizer(folder, keywords)
        made = _made(tokenizer)
    except (NotPortableError, OddModelError) as reason:
        return Converted(TextSides(ids_only=str(reason)))
    difference = first_difference(tokenizer, made)
    return Converted(TextSides(ids_only=difference)) if difference else made


def load_tokenizer(folder: Path, keywords: Mapping[str, Json] | None = None) -> PreTrainedTokenizerBase:
    """The folder's tokenizer, fast or slow.

    Raises:
        NotPortableError: transformers can't load it; the message says why.
    """
    from transformers import AutoTokenizer  # 3 s

    if find_spec("sentencepiece") is None and any((folder / name).is_file() for name in _SENTENCEPIECE_FILES):
        raise NotPortableError(
            "transformers reads its tokenizer with the package sentencepiece, which is not installed "
            "(pip install 'QEfficient[translation]')"
        )
    own = {**(keywords or {}), "local_files_only": True, "trust_remote_code": False}
    try:
        with without_advice():
            return AutoTokenizer.from_pretrained(folder, **own)
    except Exception as error:  # tokenizer classes raise whatever their readers raise
        raise NotPortableError(f"transformers can't load its tokenizer ({error})") from error


def first_difference(tokenizer: PreTrainedTokenizerBase, made: Converted) -> str:
    """Where the two sides give something else than the tokenizer, on :data:`SAMPLES`; empty where they don't."""
    if made.reader is None:
        return made.sides.ids_only
    facts = TextFacts(tokenizer=TOKENIZER, max_length=NO_LIMIT)
    reader = Tokenizer(FastTokenizer.from_str(made.reader.to_str()), facts)
    writer = reader if made.writer is None else Tokenizer(FastTokenizer.from_str(made.writer.to_str()), facts)
    source = SourceReader(reader, made.sides, writer)
    for chosen in _some_languages(made.sides):
        with _speaking(tokenizer, chosen):
            for text in SAMPLES:
                coded = _coded(text, made.sides, chosen)
                if source.ids(text, chosen) != tokenizer(coded, verbose=False)["input_ids"]:
                    return f"without transformers it reads a text otherwise ({coded!r:.60})"
                ids = tokenizer(text_target=text, verbose=False)["input_ids"]
                wanted = str(tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))
                if writer.decode(ids, skip_special_tokens=True).strip() != wanted.strip():
                    return f"without transformers it writes a text otherwise ({text!r:.60})"
    return ""


def _made(tokenizer: PreTrainedTokenizerBase) -> Converted:
    if tokenizer.is_fast:
        return Converted(_facts(tokenizer), converted(tokenizer))
    convert = _SLOW.get(type(tokenizer).__name__)
    if convert is None:
        raise NotPortableError(f"{type(tokenizer).__name__} has no fast form")
    return convert(tokenizer)


def _facts(tokenizer: Any) -> TextSides:
    """What stands around a source, as the tokenizer's class has it."""
    codes = _codes(tokenizer)
    if not codes:
        return TextSides()
    spoken = codes.get(tokenizer.src_lang)

    def around(ids: Any) -> tuple[int | str, ...]:
        return tuple(SOURCE if one == spoken else int(one) for one in ids)

    place: Place = "start" if type(tokenizer).__name__.startswith("MBartTokenizer") else "first"
    said = tokenizer.init_kwargs
    return TextSides(
        codes=codes,
        before=around(tokenizer.prefix_tokens),
        after=around(tokenizer.suffix_tokens),
        place=place,
        source=said.get("src_lang"),
        target=said.get("tgt_lang"),
    )


def _codes(tokenizer: Any) -> dict[str, int]:
    """Language → its token, of a tokenizer that has such tokens beside texts."""
    if getattr(tokenizer, "src_lang", None) is None or not hasattr(tokenizer, "prefix_tokens"):
        return {}
    known = getattr(tokenizer, "lang_code_to_id", None)
    if known is not None:
        return {str(code): int(token) for code, token in known.items()}
    tokens = tokenizer.all_special_tokens
    return {token: tokenizer.convert_tokens_to_ids(token) for token in tokens if _FLORES.fullmatch(token)}


def _marian(tokenizer: Any) -> Converted:
    if tokenizer.separate_vocabs:
        raise NotPortableError("it has a vocabulary for each side")
    source, _ = tokenizer.spm_files
    vocabulary = _vocabulary(tokenizer, tokenizer.encoder)
    end = int(tokenizer.eos_token_id)
    codes = {code[2:-2]: int(tokenizer.encoder[code]) for code in tokenizer.supported_language_codes}
    sides = TextSides(
        writer=WRITER,
        codes=codes,
        before=(TARGET,) if codes else (),
        after=(end,) if codes else (),
        place="row" if codes else None,
        source=tokenizer.source_lang,
        target=tokenizer.target_lang,
        coded=True,
        known=vocabulary.size,
        unknown=vocabulary.ids[vocabulary.unknown],
    )
    return _two(tokenizer, Path(source), vocabulary, sides)


def _m2m100(tokenizer: Any) -> Converted:
    vocabulary = _vocabulary(tokenizer, {**tokenizer.encoder, **tokenizer.lang_token_to_id})
    sides = dataclasses.replace(
        _facts(tokenizer), writer=WRITER, known=vocabulary.size, unknown=vocabulary.ids[vocabulary.unknown]
    )
    return _two(tokenizer, Path(tokenizer.spm_file), vocabulary, sides)


_SLOW: Mapping[str, Callable[[Any], Converted]] = {"MarianTokenizer": _marian, "M2M100Tokenizer": _m2m100}


def _two(tokenizer: Any, model: Path, vocabulary: Vocabulary, sides: TextSides) -> Converted:
    reader = reader_of(model, vocabulary)
    if not sides.codes:
        end = tokenizer.eos_token
        reader.post_processor = TemplateProcessing(
            single=["$A", end], special_tokens=[(end, int(tokenizer.eos_token_id))]
        )
    tokens = {**tokenizer.decoder, **getattr(tokenizer, "id_to_lang_token", {})}
    return Converted(sides, reader, writer_of(tokens, vocabulary.unknown, vocabulary.added))


def _vocabulary(tokenizer: Any, ids: Mapping[str, int]) -> Vocabulary:
    """The table of a slow tokenizer, with the tokens that it looks for before it cuts a text."""
    special = set(tokenizer.all_special_ids)
    added = [
        AddedToken(
            token.content,
            single_word=token.single_word,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            normalized=False,
            special=place in special,
        )
        for place, token in sorted(tokenizer.added_tokens_decoder.items())
    ]
    every = {**ids, **{token.content: place for place, token in tokenizer.added_tokens_decoder.items()}}
    return Vocabulary({token: int(place) for token, place in every.items()}, str(tokenizer.unk_token), tuple(added))


def _some_languages(sides: TextSides) -> list[dict[str, str]]:
    """A few choices of languages: none, where there are none to choose."""
    if not sides.names:
        return [{}]
    codes = list(sides.codes)
    step = max(1, len(codes) // _CHECKED_LANGUAGES)
    return [dict.fromkeys(sides.names, code) for code in codes[::step][:_CHECKED_LANGUAGES]]


@contextmanager
def _speaking(tokenizer: Any, chosen: Mapping[str, str]) -> Iterator[None]:
    """While it is entered, the tokenizer's languages are the chosen ones."""
    if SOURCE not in chosen:
        yield
        return
    before = tokenizer.src_lang, tokenizer.tgt_lang
    tokenizer.src_lang, tokenizer.tgt_lang = chosen[SOURCE], chosen.get(TARGET)
    try:
        yield
    finally:
        tokenizer.src_lang, tokenizer.tgt_lang = before


def _coded(text: str, sides: TextSides, chosen: Mapping[str, str]) -> str:
    """The text as transformers' users write it: with its code before it, where a model is told so."""
    return f">>{chosen[TARGET]}<<{text}" if sides.coded and TARGET in chosen else text
