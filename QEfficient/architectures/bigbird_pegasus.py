"""BigBird-PEGASUS: as BART, up to the length at which BigBird's sparse attention begins; longer ones are refused."""

from dataclasses import replace

from QEfficient.architectures import big_bird, find

ARCHITECTURE = replace(
    find("bart"), model_type="bigbird_pegasus", limit=big_bird.limit, whole=big_bird.whole, default_pad_id=0
)
