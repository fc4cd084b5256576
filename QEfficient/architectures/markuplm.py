"""MarkupLM: positions as RoBERTa's, a path for every token; without paths transformers takes the padding's."""

from functools import partial

from QEfficient.architectures.record import Architecture, Config, positions_after_pad
from QEfficient.records import TokenInput


def paths(config: Config) -> tuple[TokenInput, ...]:
    """Tags and subscripts of a token's path from the root, filled up to the greatest depth."""
    depth = (int(config.get("max_depth", 50)),)
    tags = int(config.get("max_xpath_tag_unit_embeddings", 256))
    subscripts = int(config.get("max_xpath_subs_unit_embeddings", 1024))
    return (
        TokenInput("xpath_tags_seq", depth, int(config.get("tag_pad_id", 216)), (tags,)),
        TokenInput("xpath_subs_seq", depth, int(config.get("subs_pad_id", 1001)), (subscripts,)),
    )


ARCHITECTURE = Architecture(
    model_type="markuplm", limit=partial(positions_after_pad, default_pad_id=0), default_pad_id=0, more=paths
)
