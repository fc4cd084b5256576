"""A tokenizer of every kind, trained on real texts in many scripts; and those texts."""

from __future__ import annotations

import gettext
import json
import pydoc_data.topics
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as FastTokenizer

from QEfficient.records import TextFacts
from QEfficient.text.tokenizer import Tokenizer
from tests import real_text

SPECIALS = ["<unk>", "<s>", "</s>", "<pad>", "<|im_start|>", "<|im_end|>"]
ADDED = ["<tool_call>", "日本", " spaced "]  # added tokens that are not special
SIZE = 2000


def texts(count: int = 2000) -> list[str]:
    """So many different texts, most of them not in English, in an order by chance."""
    other = [*_emoji(), *_made(), *_scripts(), *_translations(), *islice(_topics(), 150)]
    english = [*real_text.articles(merge=1)[:50], *real_text.snippets(800)]
    found = list(dict.fromkeys([*other, *english]))
    assert len(found) >= count, f"only {len(found)} texts"
    Random(0).shuffle(found)
    return found[:count]


def _topics() -> Iterator[str]:
    """Paragraphs of Python's own documentation."""
    for topic in pydoc_data.topics.topics.values():
        yield from (part for part in topic.split("\n\n") if 20 < len(part) < 600)


@cache
def _translations() -> tuple[str, ...]:
    """Messages of the translations that installed packages bring, evenly from all languages."""
    found: dict[str, list[str]] = {}
    for package in ("sphinx", "furo", "click", "jinja2", "rich", "pandas", "scikit-learn", "matplotlib"):
        try:
            files = metadata.files(package) or ()
        except metadata.PackageNotFoundError:
            continue
        for file in sorted(files):
            if file.suffix == ".mo":
                with Path(str(file.locate())).open("rb") as stream:
                    catalogue = gettext.GNUTranslations(stream)._catalog  # type: ignore[attr-defined]
                messages = [text for key, text in catalogue.items() if key and len(str(text)) > 3]
                found.setdefault(file.parts[-3], []).extend(map(str, messages))
    return tuple(text for language in sorted(found) for text in found[language][:22])


def _scripts() -> Iterator[str]:
    """Letters and marks of every script that Unicode names, 24 a text, in words."""
    scripts: dict[str, list[str]] = {}
    for code in range(0x80, 0x20000):
        character = chr(code)
        if unicodedata.category(character)[0] in "LM":
            scripts.setdefault(unicodedata.name(character, "?").split(" ")[0], []).append(character)
    random = Random(1)
    for name in sorted(scripts):
        letters = random.sample(scripts[name], min(24, len(scripts[name])))
        yield " ".join("".join(letters[i : i + 6]) for i in range(0, len(letters), 6))


def _emoji() -> Iterator[str]:
    """Sequences: joined, with skin tones, flags, keycaps, and variation selectors."""
    yield from ("👩‍👩‍👧‍👦 family", "👍🏽👍🏿", "🇩🇪🇯🇵🇧🇷", "1️⃣2️⃣#️⃣", "❤️‍🔥 ☺️ ☺", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "a😀b😀 c 🧑🏻‍🚀.")
    yield "".join(chr(code) for code in range(0x1F600, 0x1F640))


def _made() -> Iterator[str]:
    """What trips decoders: spaces at either end, punctuation, clitics, U+FFFD itself, marks alone, controls."""
    yield from (
        "  two spaces  ",
        "\n\n\ttab\r\n",
        "don't we 're they 've ' quoted ' n't , . ! ? it 's I 'm do not",
        "a . b , c ' s ' ' ve",
        "real \ufffd replacement \ufffd\ufffd",
        "e\u0301 o\u0308 \u0301\u0301 \u200d\u200d \u00a0\u3000",
        "▁ metaspace ▁▁ and ## hashes </w> and <0x41> and Ġ and Ċ",
        "זה טקסט בעברית, עם ניקוד: בְּרֵאשִׁית",
        "هذا نصٌّ عربيٌّ مع تشكيل، وأرقام ١٢٣",
        "ประเทศไทย ราชอาณาจักร नमस्ते दुनिया বাংলাদেশ தமிழ் తెలుగు ಕನ್ನಡ മലയാളം සිංහල ខ្មែរ ລາວ မြန်မာ ქართული ⵣ አማርኛ",
        "東京は日本の首都です。吾輩は猫である。名前はまだ無い。 中文：道可道，非常道。 한국어는 어렵다.",
        "<|im_start|>user\nhello<|im_end|>\n<tool_call>{}</tool_call>",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛 ℵ₀ ∑∫ √2 ≠ ½",
    )


def byte_level(corpus: list[str]) -> FastTokenizer:
    """As GPT-2, llama 3, qwen2, SmolLM2."""
    made = FastTokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _trained(made, corpus, trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet))


def byte_fallback(corpus: list[str]) -> FastTokenizer:
    """As llama 2: bytes for what has no token, and a space before the first word."""
    made = FastTokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _with_bytes(made, corpus)


def metaspace(corpus: list[str]) -> FastTokenizer:
    """As gemma: bytes likewise, and no space that is not in the text."""
    made = FastTokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return _with_bytes(made, corpus)


def _with_bytes(made: FastTokenizer, corpus: list[str]) -> FastTokenizer:
    latin = [text for text in corpus if text.isascii()]  # so that most characters have bytes only
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, special_tokens=SPECIALS, initial_alphabet=["▁"], max_token_length=12, show_progress=False
    )
    made.train_from_iterator(latin, trainer)
    state = json.loads(made.to_str())
    vocab = state["model"]["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    return _with_added(FastTokenizer.from_str(json.dumps(state)))


def unigram(corpus: list[str]) -> FastTokenizer:
    """As T5 and XLM-R: Metaspace."""
    made = FastTokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    corpus = [text for text in corpus if max(text) < "\u0500"]  # or its characters fill the vocabulary
    return _trained(made, corpus, trainers.UnigramTrainer(vocab_size=SIZE, unk_token="<unk>"))


def wordpiece(corpus: list[str]) -> FastTokenizer:
    """As BERT; its decoder cleans up."""
    made = FastTokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.BertNormalizer(strip_accents=False)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    return _trained(made, corpus, trainers.WordPieceTrainer(vocab_size=SIZE))


def word_ends(corpus: list[str]) -> FastTokenizer:
    """As GPT-1: the end of a word is marked."""
    made = FastTokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.BPEDecoder()
    return _trained(made, corpus, trainers.BpeTrainer(vocab_size=SIZE, end_of_word_suffix="</w>"))


def words(corpus: list[str]) -> FastTokenizer:
    """Whole words, and no decoder."""
    made = FastTokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _trained(made, corpus, trainers.WordLevelTrainer(vocab_size=SIZE))


KINDS: dict[str, Callable[[list[str]], FastTokenizer]] = {
    made.__name__: made for made in (byte_level, byte_fallback, metaspace, unigram, wordpiece, word_ends, words)
}


def _trained(made: FastTokenizer, corpus: list[str], trainer: Any) -> FastTokenizer:
    trainer.special_tokens = [AddedToken(token, special=True, normalized=False) for token in SPECIALS]
    trainer.show_progress = False
    made.train_from_iterator(corpus, trainer)
    return _with_added(made)


def _with_added(made: FastTokenizer) -> FastTokenizer:
    made.add_special_tokens(SPECIALS)
    made.add_tokens(ADDED)
    bos = made.token_to_id("<s>")
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    return made


@cache
def fast(kind: str) -> FastTokenizer:
    """One kind, trained once."""
    return KINDS[kind](texts(1200))


def ours(kind: str, *, clean_up: bool = False) -> Tokenizer:
    """Ours of it."""
    return Tokenizer(
        FastTokenizer.from_str(fast(kind).to_str()), TextFacts("tokenizer.json", 512, clean_up_spaces=clean_up)
    )
