"""LayoutLM on text alone: as BERT; without boxes transformers puts every token at (0, 0)."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.layoutlm.modeling_layoutlm.LayoutLMSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="layoutlm", mask="own", blocks={SOURCE: bert.BLOCK})
