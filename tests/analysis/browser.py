"""A page as a browser draws it: headless Chromium opens a copy, and a script in the copy writes down what is there."""

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # its own services reach nothing either, and wait for nothing
    "--virtual-time-budget=5000",
    "--dump-dom",
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
FIRST = """<script>window.faults = []
addEventListener('error', event => faults.push(event.message))</script>"""
LAST = """<script>addEventListener('load', () => {
  const box = one => { const r = one.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom] }
  const drawn = one => {
    const [left, top, right, bottom] = box(one), style = getComputedStyle(one)
    const paint = [style.fill, style.stroke].some(p => p !== 'none' && p !== 'rgba(0, 0, 0, 0)')
    const large = one.tagName === 'rect' ? right > left && bottom > top : right > left || bottom > top
    const seen = style.visibility === 'visible' && style.display !== 'none' && style.opacity > 0
    return large && paint && seen
  }
  const figures = [...document.querySelectorAll('figure')].map(figure => ({
    name: figure.id, box: box(figure), missing: figure.querySelector('.missing')?.textContent ?? '',
    drawings: [...figure.querySelectorAll('.plot > svg, .bars .row > svg')].map(svg => ({
      box: box(svg), marks: [...svg.querySelectorAll('.mark')].filter(drawn).map(box),
      labels: svg.querySelectorAll('text').length})),
  }))
  const wide = [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll'))
  const found = document.createElement('pre')
  found.id = 'found-by-the-test'
  found.textContent = JSON.stringify({figures, faults, width: Math.max(...wide.map(one => box(one)[2])),
    requests: performance.getEntriesByType('resource').map(one => one.name)})
  document.body.append(found)
})</script>"""

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


@dataclass(frozen=True)
class Drawing:
    """One drawing: its box, and the boxes of its marks that can be seen."""

    box: Box
    marks: tuple[Box, ...]


@dataclass(frozen=True)
class Drawn:
    """A figure as it is on the screen."""

    name: str
    box: Box
    missing: str
    drawings: tuple[Drawing, ...]

    @property
    def faults(self) -> list[str]:
        """What is wrong with it; a figure without data says so in words."""
        if self.missing:
            return [f"{self.name}: words and drawings"] if self.drawings else []
        found = [] if self.drawings else [f"{self.name}: no drawing"]
        found += [f"{self.name}: an empty drawing" for one in self.drawings if not one.marks or not area(one.box)]
        found += [
            f"{self.name}: marks outside" for one in self.drawings if not all(near(m, one.box) for m in one.marks)
        ]
        return found + ([] if area(self.box) else [f"{self.name}: not visible"])


@dataclass(frozen=True)
class Page:
    """What the browser saw: figures, errors of scripts, addresses asked for, and how far right anything reaches."""

    figures: tuple[Drawn, ...]
    faults: tuple[str, ...]
    requests: tuple[str, ...]
    width: int


def area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def near(mark: Box, box: Box, slack: float = 8) -> bool:
    """A mark lies within its drawing; a dot on the edge stands half outside."""
    inside = mark[0] >= box[0] - slack and mark[1] >= box[1] - slack
    return inside and mark[2] <= box[2] + slack and mark[3] <= box[3] + slack


def browser() -> str:
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"None of {', '.join(NAMES)} is installed: `make test` sees to it where it can.")
    return found


def look(page: str, folder: Path, width: int = 1200) -> Page:
    """Opens a page from a file, ``width`` pixels wide (the root is set to it: no window is as narrow as a phone).

    The page's own policy would forbid the script that looks, so that the copy has none.
    """
    copy, unlocked = folder / "copy.html", POLICY.subn("", page)
    assert unlocked[1] == 1, "the page has one content policy"
    copy.write_text(
        unlocked[0]
        .replace("<head>", f"<head><style>html {{ width: {width}px }}</style>{FIRST}", 1)
        .replace("</body>", LAST + "</body>", 1)
    )
    own = [f"--user-data-dir={folder / 'profile'}", "--window-size=1300,900", copy.as_uri()]
    done = subprocess.run([browser(), *OPTIONS, *own], capture_output=True, text=True, timeout=120, check=True)
    written = re.search(r'<pre id="found-by-the-test">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, done.stderr
    found = json.loads(html.unescape(written.group(1)))
    figures = tuple(
        Drawn(
            one["name"],
            tuple(one["box"]),
            one["missing"],
            tuple(Drawing(tuple(d["box"]), tuple(map(tuple, d["marks"]))) for d in one["drawings"]),
        )
        for one in found["figures"]
    )
    return Page(figures, tuple(found["faults"]), tuple(found["requests"]), found["width"])
