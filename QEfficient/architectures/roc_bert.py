"""RoCBERT: as BERT."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.roc_bert.modeling_roc_bert.RoCBertSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="roc_bert", blocks={SOURCE: bert.BLOCK})
