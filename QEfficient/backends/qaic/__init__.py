"""The card: Qualcomm Cloud AI 100, through its SDK.

It is written against the vendor's published interfaces and tested against a fake SDK; see the documentation for what
has and has not been run on real hardware.
"""

from QEfficient.backends.qaic.backend import QaicBackend

__all__ = ["QaicBackend"]
