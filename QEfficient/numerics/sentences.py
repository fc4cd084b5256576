"""The built-in texts that every compile is verified on: lengths, scripts and styles that people really send."""

from __future__ import annotations

SENTENCES: tuple[str, ...] = (
    "Hello.",
    "The parcel never arrived.",
    "Where can I renew my passport?",
    "A man is playing the violin on the platform.",
    "Someone plays a string instrument at the station.",
    "The committee postponed its decision until the auditors had seen the accounts.",
    "Worst purchase I have made in years: the zip broke after two days and nobody answers the phone!",
    "Absolutely delighted with these boots, they are warm, light and survived a week of mud.",
    "How do I undo the last commit without losing my changes?",
    "git reset --soft HEAD~1 moves the branch back and keeps the work in the index.",
    "Revenue rose by 12.4 % to 3,817 million, while costs stayed flat.",
    "In 1969 two people walked on the Moon; a third waited in orbit above them.",
    "Aspirin thins the blood, so tell your doctor before an operation.",
    "Der Zug nach Freiburg fällt heute wegen einer Störung aus.",
    "La réunion de demain est reportée à jeudi, quinze heures.",
    "¿Dónde se puede comer bien cerca de la catedral?",
    "Завтра обещают дождь, возьми с собой зонт.",
    "这家餐厅的牛肉面非常好吃。",
    "電車が遅れているので、会議に少し遅れます。",
    "مواعيد العمل من التاسعة صباحا حتى الخامسة مساء.",
    "SELECT name, COUNT(*) FROM orders WHERE paid = TRUE GROUP BY name HAVING COUNT(*) > 3;",
    "omg this is soooo good 😂😂 #weekend https://example.org/x?id=42",
    "The tenant shall give notice in writing not less than three months before the end of the term, and the landlord "
    "shall return the deposit, less the cost of any repair that is not fair wear and tear, within thirty days.",
    "When the river froze, the ferryman walked across it every morning to see whether the ice would carry a cart, and "
    "every evening he told the same story about the winter in which it had not: how the horses had screamed, how the "
    "lanterns went out one by one, and how in spring a single wheel was found miles down the valley.",
)
"""Texts of our own, each a few tokens to about a hundred."""

LONG = " ".join(SENTENCES)
"""One text past the limit of most models: it is shortened to it."""
