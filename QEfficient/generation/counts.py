"""What an engine has done so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class EngineCounts:
    """Counters since the engine began, and what it holds now.

    Attributes:
        reused: Tokens of prompts that a slot held already, or that were copied from another.
        prefilled: Tokens run as prompts, those that were run again with them.
        decoded: Tokens run in decode steps, one a row.
        drafted, accepted: Tokens that were run beside these before any was chosen, and those of them that were chosen.
        prefill_runs, decode_runs: Runs.
        copies: Copies of a slot.
        failures: Failures of the device.
        prefill_seconds, decode_seconds: Time inside the program.
        copy_seconds: Time of copies.
        choose_seconds: Time inside strategies.
        step_seconds: Time of all steps, these with it: what is left is the engine's own.
        ended, failed: Requests that ended with a reason, and with an error.
        waiting, running: Requests without and with slots, now.
        held: Tokens that the slots hold now.
    """

    reused: int = 0
    prefilled: int = 0
    decoded: int = 0
    drafted: int = 0
    accepted: int = 0
    prefill_runs: int = 0
    decode_runs: int = 0
    copies: int = 0
    failures: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    copy_seconds: float = 0.0
    choose_seconds: float = 0.0
    step_seconds: float = 0.0
    ended: int = 0
    failed: int = 0
    waiting: int = 0
    running: int = 0
    held: int = 0
