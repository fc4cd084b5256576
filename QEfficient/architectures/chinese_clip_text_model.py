"""The text half of Chinese-CLIP: as BERT."""

from dataclasses import replace

from QEfficient.architectures import bert

SOURCE = "transformers.models.chinese_clip.modeling_chinese_clip.ChineseCLIPTextSelfAttention"
ARCHITECTURE = replace(bert.ARCHITECTURE, model_type="chinese_clip_text_model", blocks={SOURCE: bert.BLOCK})
