"""Translates texts, one a line of stdin; a text that is too long is cut between sentences.

python examples/translate.py Helsinki-NLP/opus-mt-en-de < english.txt > german.txt
python examples/translate.py facebook/nllb-200-distilled-600M eng_Latn deu_Latn < english.txt > german.txt
"""

import sys

from QEfficient import QEFFAutoModelForSeq2SeqLM

name, *languages = sys.argv[1:]
source, target = languages if languages else (None, None)
model = QEFFAutoModelForSeq2SeqLM.from_pretrained(name)
model.compile()
for text in model.translate(sys.stdin.read().splitlines(), source, target, overlong="split"):
    print(text)
