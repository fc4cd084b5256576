"""Fine-tuning and distilling, as functions over a module, on the trainers of transformers and sentence-transformers.

``request`` is how to train, ``record`` what came of it; ``heads``, ``embeddings`` and ``rerankers`` are one kind of
model each, ``language`` is two: models that write on, and models that read one text and write another. ``training`` is
what is the same for all of them, ``save`` writes what came of it as a repo. ``distill`` and ``distill_heads`` teach a
smaller model, which ``layers`` may have cut out of its ``teacher``. Everything needs the extra ``train``.
"""
