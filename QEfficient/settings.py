"""Every environment variable that the library reads. Nothing else in it looks at ``os.environ``.

Each is read when it is needed, never at import, and none is ever written.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from QEfficient.errors import UsageError


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its name, default (as text) and one line of help."""

    name: str
    default: str
    help: str

    def get(self) -> str:
        """The value, or the default when it is unset or empty."""
        return os.environ.get(self.name) or self.default


QEFF_HOME = Setting("QEFF_HOME", "", "Folder of all artefacts; else qeff_cache in XDG_CACHE_HOME, else in ~/.cache.")
XDG_CACHE_HOME = Setting("XDG_CACHE_HOME", "", "The desktop standard's cache folder, used when QEFF_HOME is unset.")
QEFF_BACKEND = Setting("QEFF_BACKEND", "auto", "Default backend of compile: auto, onnxruntime, emulator or qaic.")
QEFF_QAIC_SDK = Setting("QEFF_QAIC_SDK", "/opt/qti-aic", "Root of the Qualcomm Cloud AI SDK.")
QEFF_COMPILE_TIMEOUT = Setting("QEFF_COMPILE_TIMEOUT", "0", "Seconds the card compiler may take; 0 is no limit.")
QAIC_VISIBLE_DEVICES = Setting(
    "QAIC_VISIBLE_DEVICES", "", "Ids of the card's devices that may be used, as 0,1; unset or empty is all of them."
)
WORLD_SIZE = Setting("WORLD_SIZE", "1", "Processes of a training, as torchrun sets it.")
RANK = Setting("RANK", "0", "Which of them this one is, likewise.")
HF_HUB_OFFLINE = Setting("HF_HUB_OFFLINE", "", "1: no network, as huggingface_hub reads it.")
TRANSFORMERS_OFFLINE = Setting("TRANSFORMERS_OFFLINE", "", "1: no network, as transformers reads it.")
HF_HUB_DISABLE_PROGRESS_BARS = Setting("HF_HUB_DISABLE_PROGRESS_BARS", "", "1: no progress bars.")

ALL = tuple(value for value in list(globals().values()) if isinstance(value, Setting))

_TRUE = {"1", "ON", "YES", "TRUE"}  # as huggingface_hub reads its own variables


def _flag(setting: Setting) -> bool:
    return setting.get().upper() in _TRUE


def home() -> Path:
    """The folder of all artefacts. It need not exist yet."""
    if home := QEFF_HOME.get():
        return Path(home).expanduser().absolute()
    return Path(XDG_CACHE_HOME.get() or "~/.cache").expanduser().absolute() / "qeff_cache"


def backend() -> str:
    """Name of the default backend."""
    return QEFF_BACKEND.get()


def qaic_sdk() -> Path:
    """Root of the card's SDK. It need not exist."""
    return Path(QEFF_QAIC_SDK.get()).expanduser().absolute()


def compile_timeout() -> float | None:
    """Seconds the card compiler may take, or ``None``."""
    text = QEFF_COMPILE_TIMEOUT.get()
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(
            f"{QEFF_COMPILE_TIMEOUT.name} is not a number of seconds.",
            got=text,
            allowed="0 (no limit) or a positive number",
            do=f"unset {QEFF_COMPILE_TIMEOUT.name}, or set it to a number such as 3600",
        )
    return seconds or None


def visible_devices() -> frozenset[int] | None:
    """Ids of the devices that may be used, or ``None`` for all."""
    text = QAIC_VISIBLE_DEVICES.get().strip()
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(
            f"{QAIC_VISIBLE_DEVICES.name} is not a list of device ids.",
            got=text,
            allowed="whole numbers from 0 on, separated by commas",
            do=f"unset {QAIC_VISIBLE_DEVICES.name}, or set it to a list such as 0,1",
        )
    return frozenset(map(int, parts))


def training_processes() -> int:
    """How many processes train together."""
    return int(WORLD_SIZE.get())


def training_rank() -> int:
    """Which of these processes this one is, from 0; the first one writes."""
    return int(RANK.get())


def offline() -> bool:
    """Whether the user forbade the network."""
    return _flag(HF_HUB_OFFLINE) or _flag(TRANSFORMERS_OFFLINE)


def progress_bars() -> bool:
    """Whether progress bars may be drawn at all."""
    return not _flag(HF_HUB_DISABLE_PROGRESS_BARS)
