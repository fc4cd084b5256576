"""ELECTRA: as BERT, with narrower embeddings."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.electra.modeling_electra.ElectraSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="electra", blocks={SOURCE: bert.BLOCK})
