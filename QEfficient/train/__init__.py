"""Fine-tuning, as functions over a module, on the trainers of transformers and sentence-transformers.

``request`` is how to train, ``record`` what came of it; ``heads``, ``embeddings`` and ``rerankers`` are one kind of
model each, ``save`` writes what came of it as a repo. Everything needs the extra ``train``.
"""
