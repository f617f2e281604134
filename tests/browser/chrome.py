"""Pages in a headless Chromium: what they measure there, how they look, and what the console says."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Scheme = Literal["light", "dark"]
HEIGHT_PX = 900
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
    "--enable-logging=stderr", "--allow-file-access-from-files",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """One page at one width, as its measuring page found it."""

    page: str
    width: int
    facts: dict[str, Any]


def chromium() -> str | None:
    """Where the browser is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def look(
    pages: dict[str, Path], widths: Sequence[int], scheme: Scheme, folder: Path
) -> tuple[list[Seen], list[str], NDArray[np.uint8]]:
    """What every page measures in a frame of every width, the lines of the console, and a picture.

    The picture is of the first page's top, :data:`HEIGHT_PX` high, in each width from left to right, RGB.
    """
    frames = [(name, path, width) for name, path in pages.items() for width in widths]
    body = "".join(
        f'<iframe src="{path.as_uri()}" width="{width}" height="{HEIGHT_PX}"></iframe>' for _, path, width in frames
    )
    harness, shot = folder / f"look-{scheme}.html", folder / f"look-{scheme}.png"
    harness.write_text(
        '<!DOCTYPE html><meta charset="utf-8"><title>look</title>'
        f"<style>body{{margin:0;font-size:0}}iframe{{border:0}}</style>{body}"
        f'<pre id="facts"></pre><script>{_MEASURE}</script>'
    )
    color = f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"
    size = f"--window-size={sum(widths)},{HEIGHT_PX}"  # frames, because a window is never as narrow as 400 px
    found = chromium()
    assert found is not None
    done = subprocess.run(
        [found, *FLAGS, color, size, f"--user-data-dir={folder / f'profile-{scheme}'}", "--dump-dom",
         f"--screenshot={shot}", harness.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    texts = re.findall(r'<pre id="facts">(.+?)</pre>', done.stdout, re.DOTALL)
    assert texts, f"the measuring script did not end: {done.stderr[-2000:]}"
    seen = [
        Seen(name, width, fact)
        for (name, _, width), fact in zip(frames, json.loads(html.unescape(texts[0])), strict=True)
    ]
    pixels = cv2.imread(str(shot))
    assert pixels is not None, done.stderr[-2000:]
    return seen, console(done.stderr), np.asarray(pixels[:HEIGHT_PX, : sum(widths), ::-1], dtype=np.uint8)


def console(stderr: str) -> list[str]:
    """What pages wrote to the console: errors, warnings, refusals."""
    return [line for line in stderr.splitlines() if "CONSOLE" in line]


_MEASURE = r"""
const shown = element => element.getClientRects().length > 0;

function facts(frame) {
  const page = frame.contentDocument, root = page.documentElement, width = frame.contentWindow.innerWidth;
  for (const fold of page.querySelectorAll("details")) fold.open = true;  // what is folded must fit, too
  const images = [...page.images].map(image => image.complete && image.naturalWidth > 1 && image.naturalHeight > 1);
  const tips = [...page.querySelectorAll(".pt")].map(point => {
    const tip = point.querySelector(".tip"), before = shown(tip);
    point.focus({ preventScroll: true });
    const box = tip.getBoundingClientRect();
    const found = { before, after: shown(tip), text: tip.innerText, left: box.left, right: box.right };
    point.blur();
    return found;
  });
  const letters = [...page.querySelectorAll("p, td, th, li, dd, dt, figcaption, .xt, .yt, label")].filter(shown);
  return {
    width, scroll_width: root.scrollWidth, images, tips,
    title: page.title,
    smallest_px: Math.min(...letters.map(e => parseFloat(getComputedStyle(e).fontSize))),
    paper: getComputedStyle(page.body).backgroundColor, ink: getComputedStyle(page.body).color,
    heading_px: page.querySelector("h1").getBoundingClientRect().height,
    switches: [...page.querySelectorAll(".switches input")].map((box, i) => {
      const mine = () => [...page.querySelectorAll(".frame .s" + i)].filter(shown).length;
      const counts = [mine()];
      box.click(); counts.push(mine());
      box.click(); counts.push(mine());
      return counts;
    }),
    targets: [...page.querySelectorAll('a[href^="#"]')].map(link => {
      const target = page.getElementById(link.hash.slice(1));
      return target !== null && shown(target);
    }),
  };
}

addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(facts);
  document.getElementById("facts").textContent = JSON.stringify(found);
  scrollTo(0, 0);
});
"""
