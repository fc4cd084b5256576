"""CamemBERT: as RoBERTa."""

from dataclasses import replace

from QEfficient.architectures import bert, roberta

SOURCE = "transformers.models.camembert.modeling_camembert.CamembertSelfAttention"
ARCHITECTURE = replace(roberta.ARCHITECTURE, model_type="camembert", blocks={SOURCE: bert.BLOCK})
