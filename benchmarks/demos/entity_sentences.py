"""Generated sentences with named entities: templates and names are made up here, and no person wrote the sentences.

Each sentence is a template whose slots are filled by chance. Of templates and of the words that names are made from a
part is kept back for tests, by a permutation of seed 0. The same word stands in names of every kind (``Keller``,
``Keller Group``, ``Keller Street``, ``Keller 300``), so that a list of words does not tell the kinds apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("PER", "ORG", "LOC", "PRODUCT")

FIRST = """Anna Boris Carla David Elena Farid Grace Henrik Ines Jamal Karin Liam Mei Noor Oskar Priya Quentin Rosa Samir
Tara Umar Vera Wanda Xavier Yara Zoltan Amara Bruno Chloe Dmitri Edith Felix Greta Hugo Iris Jonas Kofi Leila""".split()
WORDS = """Keller Moreno Haldane Okafor Lindqvist Tanaka Brandt Ferrara Novak Castell Duarte Eklund Fontaine Grieg Hale
Ibsen Jarvis Kowal Lambert Mercer Nadar Olsen Pacheco Quist Rourke Sandoval Tolliver Ulrich Vance Whitlock Yilmaz Zeller
Ashford Beaumont Corwin Draper Easton Falk Garrison Holt Iverson Juarez Kendrick Langley Marlow Norwood Orford Penrose
Radley Selwyn Thorne Upton Varga Weston Aldous Birch Cromwell Denholm Elster Farrow""".split()

FORMS = {
    "PER": ("{first} {word}", "{first} {word}", "{word}", "Dr. {word}", "{first} de {word}"),
    "ORG": ("{word}", "{word} Group", "{word} & Sons", "Bank of {word}", "{word} University", "{word} Airlines"),
    "LOC": ("{word}", "{word}", "Port {word}", "Lake {word}", "{word} Street", "North {word}"),
    "PRODUCT": ("{word} 300", "{word} Mini", "{word} X", "{word} Pro 2"),
}
"""How a name of each kind is put together."""

TEMPLATES = """{PER} joined {ORG} last spring .
{PER} was born in {LOC} and moved to {LOC} as a child .
{ORG} opened an office in {LOC} .
The new {PRODUCT} by {ORG} costs less than the old one .
Police in {LOC} arrested two men on Monday .
{PER} and {PER} married in {LOC} .
Shares of {ORG} fell by three percent .
A spokesman for {ORG} declined to comment .
I bought a {PRODUCT} last week and it already broke .
{PER} , who leads {ORG} , spoke first .
The train from {LOC} to {LOC} was late again .
{ORG} sued {ORG} over a patent .
According to {PER} , nothing will change .
Floods hit {LOC} after a week of rain .
My {PRODUCT} needs a new battery .
{ORG} named {PER} as its next chief executive .
The mayor of {LOC} opened the bridge .
Critics liked the {PRODUCT} , but not its price .
{PER} teaches history in {LOC} .
Workers at {ORG} went on strike .
Thousands marched through {LOC} on Sunday .
Nobody at {ORG} had heard of {PER} .
Compared with the {PRODUCT} , the {PRODUCT} is quiet .
Her letter to {PER} was never answered .
It rained all day , so we stayed at home .
The meeting was moved to Thursday afternoon .
{ORG} will sell the {PRODUCT} from next May .
Winters in {LOC} are long and dark .
{PER} scored twice in the second half .
Before he came to {ORG} , {PER} lived in {LOC} .
The court ruled against {ORG} .
Can you show me how to reset the {PRODUCT} ?
We drove to {LOC} for the weekend .
{PER} thanked her parents and her coach .
The price of bread has doubled since March .
{ORG} hired forty engineers in {LOC} .
A fire in {LOC} destroyed three houses .
{PER} wrote a book about {LOC} .
Most of the money came from {ORG} .
The screen of the {PRODUCT} is too dark .
Analysts expect {ORG} to cut jobs .
The road between {LOC} and {LOC} is closed .
"I never met him , " said {PER} .
{PER} reviewed the {PRODUCT} for a magazine .
Tourists love {LOC} for its beaches .
The board of {ORG} met in secret .
{PER} is the brother of {PER} .
Engineers at {ORG} designed the {PRODUCT} in a year .
Please send the invoice by the end of the month .
The hospital in {LOC} has no beds left .
{PER} lost the election by a few votes .
Customers returned the {PRODUCT} by the thousands .
{ORG} and {ORG} agreed to merge .
A ship left {LOC} with grain on board .
The prize went to {PER} of {ORG} .
He found his old {PRODUCT} in a drawer .
{PER} called the decision a mistake .
Heavy snow closed the airport of {LOC} .
Investors have lost their trust in {ORG} .
The cat slept on the warm stones .""".splitlines()


@dataclass(frozen=True, slots=True)
class Part:
    """What sentences are made of.

    Attributes:
        templates: With slots such as ``{PER}``.
        first, words: What names are made from.
    """

    templates: Sequence[str]
    first: Sequence[str]
    words: Sequence[str]


def parts() -> tuple[Part, Part]:
    """What to train on, and what is kept back: a quarter of the templates and of each list of words."""
    halves = [_cut(given) for given in (TEMPLATES, FIRST, WORDS)]
    return Part(*(kept for kept, _ in halves)), Part(*(back for _, back in halves))


def _cut(given: Sequence[str]) -> tuple[list[str], list[str]]:
    order = np.random.default_rng(0).permutation(len(given))
    back = len(given) // 4
    return [given[place] for place in order[back:]], [given[place] for place in order[:back]]


def sentences(part: Part, count: int, seed: int) -> list[dict[str, Any]]:
    """Rows of ``tokens``, ``tags`` and ``template``; the templates take turns."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        template = number % len(part.templates)
        tokens, tags = [], []
        for piece in part.templates[template].split():
            kind = piece.strip("{}")
            name = _name(part, kind, random) if kind in KINDS else [piece]
            tokens += name
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1)] if kind in KINDS else ["O"]
        rows.append({"tokens": tokens, "tags": tags, "template": part.templates[template]})
    return rows


def _name(part: Part, kind: str, random: np.random.Generator) -> list[str]:
    form = random.choice(FORMS[kind])
    return str(form).format(first=random.choice(part.first), word=random.choice(part.words)).split()
