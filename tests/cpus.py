"""How many CPUs the host backends take for theirs: with another number a graph's last bits may be others."""

from pathlib import Path

from QEfficient.backends import host


def allow_cpus(count: int, folder: Path) -> None:
    """As a container's quota would; the folder stands for that of control groups."""
    (folder / "cpu.max").write_text(f"{count * 100_000} 100000\n")
    host._cpu_quota.__defaults__ = (folder,)
