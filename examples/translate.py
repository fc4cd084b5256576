"""Translates texts, one a line of stdin; a text that is too long is cut between sentences.

python examples/translate.py Helsinki-NLP/opus-mt-en-de < english.txt > german.txt
python examples/translate.py facebook/nllb-200-distilled-600M eng_Latn deu_Latn < english.txt > german.txt
"""

import sys

from QEfficient import QEFFAutoModelForSeq2SeqLM

name, source, target = {2: [*sys.argv[1:], None, None], 4: sys.argv[1:]}.get(len(sys.argv)) or sys.exit(__doc__)
model = QEFFAutoModelForSeq2SeqLM.from_pretrained(name)
model.compile()
for text in model.translate(sys.stdin.read().splitlines(), source, target, overlong="split"):
    print(text)
