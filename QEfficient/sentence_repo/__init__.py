"""A sentence-transformers repo: its modules, prompts and limits, read without torch.

``files`` reads JSON and names what is wrong with it, ``transformer`` is about the first module, ``steps`` about those
behind it, ``refused`` says why a module has no place in a graph, ``routes`` follows a Router, and ``repo`` puts it all
together.
"""

from QEfficient.sentence_repo.files import Module
from QEfficient.sentence_repo.repo import SentenceRepo, read

__all__ = ["Module", "SentenceRepo", "read"]
