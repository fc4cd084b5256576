"""ERNIE: as BERT, with a task for each token where the config has use_task_id: the first one where none is given."""

from dataclasses import replace

from QEfficient.architectures import find
from QEfficient.architectures.record import Config
from QEfficient.records import TokenInput


def tasks(config: Config) -> tuple[TokenInput, ...]:
    """See ``ErnieEmbeddings.forward``."""
    return (TokenInput("task_type_ids"),) if config.get("use_task_id") else ()


ARCHITECTURE = replace(
    find("bert"),
    model_type="ernie",
    blocks={"ernie.ErnieSelfAttention": "bert.FoldedSelfAttention"},
    more=tasks,
    left_out={"task_type_ids": "its config has no use_task_id, and HuggingFace's model ignores them then"},
)
