"""data2vec's text encoder: as RoBERTa."""

from dataclasses import replace

from QEfficient.architectures import bert, roberta

SOURCE = "transformers.models.data2vec.modeling_data2vec_text.Data2VecTextSelfAttention"
ARCHITECTURE = replace(roberta.ARCHITECTURE, model_type="data2vec-text", blocks={SOURCE: bert.BLOCK})
