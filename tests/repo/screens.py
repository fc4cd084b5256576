"""Pages of the built documentation as a browser lays them out, each in a frame as wide as a screen."""

import html
import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.analysis.browser import OPTIONS, browser

DESK, PHONE = (1280, 800), (390, 800)
SCRIPT = """<script>addEventListener('load', () => {
  const seen = [...document.querySelectorAll('iframe')].map(({contentDocument: page}) => {
    const box = one => one.getBoundingClientRect()
    const shown = [...page.querySelectorAll('article img')].filter(one => box(one).width)
    return {
      width: page.documentElement.scrollWidth,
      content: Math.round(box(page.querySelector('article')).bottom),
      links: page.querySelectorAll('article a.reference').length,
      drawings: shown.map(one => ({name: one.src.split('/').pop(), top: box(one).top, right: box(one).right,
        scale: box(one).width / one.naturalWidth})),
      tables: [...page.querySelectorAll('.table-wrapper')].map(one => ({top: box(one).top,
        hidden: one.scrollWidth - one.clientWidth})),
    }
  })
  const found = document.createElement('pre')
  found.id = 'found-by-the-test'
  found.textContent = JSON.stringify(seen)
  document.body.append(found)
})</script>"""


@dataclass(frozen=True)
class Drawing:
    """An image that is shown: where its top and its right edge are, and how much it was scaled."""

    name: str
    top: float
    right: float
    scale: float


@dataclass(frozen=True)
class Screen:
    """What one page looks like; pixels from the top left.

    Attributes:
        width: How far right anything reaches that does not scroll within itself.
        content: Where the article ends.
        links: How many the article has.
        drawings: The images that are shown.
        tables: Top of each table, and how much of its width is seen only by scrolling it.
    """

    width: int
    content: int
    links: int
    drawings: tuple[Drawing, ...]
    tables: tuple[tuple[float, int], ...]


def look(pages: Sequence[Path], size: tuple[int, int], folder: Path) -> list[Screen]:
    """Opens the pages in one browser. The frames are files beside files, which only this browser lets a script read."""
    width, height = size
    frames = "".join(
        f'<iframe src="{page.as_uri()}" style="width: {width}px; height: {height}px; border: 0"></iframe>'
        for page in pages
    )
    wrapper = folder / f"frames-{width}.html"
    wrapper.write_text(f"<!doctype html><body>{frames}{SCRIPT}</body>", encoding="utf-8")
    own = ["--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}", wrapper.as_uri()]
    done = subprocess.run([browser(), *OPTIONS, *own], capture_output=True, text=True, timeout=120, check=True)
    written = re.search(r'<pre id="found-by-the-test">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, done.stderr
    return [
        Screen(
            one["width"],
            one["content"],
            one["links"],
            tuple(Drawing(**drawing) for drawing in one["drawings"]),
            tuple((table["top"], table["hidden"]) for table in one["tables"]),
        )
        for one in json.loads(html.unescape(written.group(1)))
    ]
