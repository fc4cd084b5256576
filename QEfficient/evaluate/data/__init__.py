"""How data comes in, for evaluation and for training: of any kind and under any names, checked before anything runs."""

from QEfficient.evaluate.data.dependence import check_classes, text_pairs
from QEfficient.evaluate.data.images import rgb_image
from QEfficient.evaluate.data.infer import infer_task
from QEfficient.evaluate.data.reading import read_examples
from QEfficient.evaluate.data.roles import MASK, TASKS, DataTask, Role
from QEfficient.evaluate.data.sound import load_clip
from QEfficient.evaluate.data.split import groups_by_text, split_by_chance, split_by_text, subset

__all__ = [
    "MASK",
    "TASKS",
    "DataTask",
    "Role",
    "check_classes",
    "groups_by_text",
    "infer_task",
    "load_clip",
    "read_examples",
    "rgb_image",
    "split_by_chance",
    "split_by_text",
    "subset",
    "text_pairs",
]
