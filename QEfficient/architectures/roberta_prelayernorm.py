"""RoBERTa with the norm before each block: its positions are RoBERTa's."""

from dataclasses import replace

from QEfficient.architectures import bert, roberta

SOURCE = "transformers.models.roberta_prelayernorm.modeling_roberta_prelayernorm.RobertaPreLayerNormSelfAttention"
ARCHITECTURE = replace(roberta.ARCHITECTURE, model_type="roberta-prelayernorm", blocks={SOURCE: bert.BLOCK})
