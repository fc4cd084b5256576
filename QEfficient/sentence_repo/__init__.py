"""A sentence-transformers repo: its modules, prompts and limits, read without torch.

``files`` reads JSON and names what is wrong with it, ``transformer`` is about the first module, ``steps`` about those
behind it, ``refused`` says why a module has no place in a graph, ``routes`` follows a Router, ``repo`` puts it all
together, and ``reranker`` is about a CrossEncoder's scores.
"""

from QEfficient.sentence_repo.files import Module
from QEfficient.sentence_repo.repo import SentenceRepo, modules_of, read
from QEfficient.sentence_repo.reranker import Scoring, check_reranker, read_scoring

__all__ = ["Module", "Scoring", "SentenceRepo", "check_reranker", "modules_of", "read", "read_scoring"]
