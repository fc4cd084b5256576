"""LayoutLM: as BERT, with a box on the page for every token; without boxes transformers puts all at (0, 0)."""

from dataclasses import replace

from QEfficient.architectures import bert
from QEfficient.architectures.record import ON_A_PAGE, boxes

ARCHITECTURE = replace(
    bert.ARCHITECTURE,
    model_type="layoutlm",
    mask="own",
    blocks={"layoutlm.LayoutLMSelfAttention": "bert.FoldedSelfAttention"},
    more=boxes,
    loaded_by=ON_A_PAGE,
)
