"""The cache of artefacts: content keys, sealed folders, and the store that builds each one once.

An artefact is a folder with a manifest, ``qefficient.json``, that names the stage, every ingredient of the key in
clear, and size and SHA-256 of every file. Three rules keep the cache honest:

1. The key is made of content: digests of files, never their names or times.
2. A folder is built aside, flushed to disk and renamed into place last, under a lock of its key.
3. What is in place is never changed. Files may be hard-linked between entries, so a change would reach all of them.

``disk`` has what a system says when it refuses, ``files`` the disk operations, ``codec`` records ⇄ JSON, ``digests``
the keys, ``envelope`` the manifest, ``store`` the cache itself and ``trial`` one whose entries may never be kept.
"""

from __future__ import annotations

from QEfficient.cache.codec import canonical_json, from_json, json_like, to_json
from QEfficient.cache.digests import Watched, content_key, file_digest, file_digests, library_versions
from QEfficient.cache.envelope import (
    FORMAT,
    MANIFEST,
    Envelope,
    check_files,
    check_inside,
    check_seal,
    read_envelope,
    write_envelope,
)
from QEfficient.cache.files import link_or_copy, work_folder
from QEfficient.cache.store import Cache, Difference, Entry, Explanation, differences, safe_name, total_bytes
from QEfficient.cache.trial import TrialCache, trial_cache

__all__ = [
    "FORMAT",
    "MANIFEST",
    "Cache",
    "Difference",
    "Entry",
    "Envelope",
    "Explanation",
    "TrialCache",
    "Watched",
    "canonical_json",
    "check_files",
    "check_inside",
    "check_seal",
    "content_key",
    "differences",
    "file_digest",
    "file_digests",
    "from_json",
    "json_like",
    "library_versions",
    "link_or_copy",
    "read_envelope",
    "safe_name",
    "to_json",
    "total_bytes",
    "trial_cache",
    "work_folder",
    "write_envelope",
]
