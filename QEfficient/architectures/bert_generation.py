"""BertGeneration's encoder: as BERT, without token types."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.bert_generation.modeling_bert_generation.BertGenerationSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="bert-generation", default_types=0, blocks={SOURCE: bert.BLOCK})
