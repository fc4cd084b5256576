"""BigBird-PEGASUS: as BART, up to the length at which BigBird's sparse attention begins; longer ones are refused."""

from dataclasses import replace

from QEfficient.architectures import bart, big_bird

ARCHITECTURE = replace(
    bart.ARCHITECTURE, model_type="bigbird_pegasus", limit=big_bird.limit, whole=big_bird.whole, default_pad_id=0
)
