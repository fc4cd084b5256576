"""ERNIE: as BERT; the task is always the first one, as transformers has it when none is given."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.ernie.modeling_ernie.ErnieSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="ernie", blocks={SOURCE: bert.BLOCK})
