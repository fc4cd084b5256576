"""XLM-RoBERTa: as RoBERTa."""

from dataclasses import replace

from QEfficient.architectures import bert, roberta

SOURCE = "transformers.models.xlm_roberta.modeling_xlm_roberta.XLMRobertaSelfAttention"
ARCHITECTURE = replace(roberta.ARCHITECTURE, model_type="xlm-roberta", blocks={SOURCE: bert.BLOCK})
