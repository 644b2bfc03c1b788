# SPDX-FileCopyrightText: The Baleine authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow every link of the site: each leads to a page and a place that exist, and nothing is loaded from elsewhere.

Usage: links.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page offers (``places``), leads to (``links``) and is made with (``loaded``)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.places: set[str] = {""}
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value or "" for key, value in attrs}
        self.places.add(found.get("id", ""))
        if tag == "a":
            self.links.append(found.get("href", ""))
        elif tag == "link":
            self.loaded.append(found.get("href", ""))
        elif "src" in found:
            self.loaded.append(found["src"])


def broken(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the pages of a folder."""
    pages = {path: Page(path) for path in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(folder)
        for text in page.loaded:
            if urlsplit(text).netloc:
                yield f"{name} loads {text}"
        for text in page.links + page.loaded:
            link = urlsplit(text)
            target = (path.parent / unquote(link.path)).resolve() if link.path else path
            if link.scheme or link.netloc:
                continue
            if not target.exists():
                yield f"{name}: {text} leads nowhere"
            elif target in pages and unquote(link.fragment) not in pages[target].places:
                yield f"{name}: {text} leads to no place of that page"
    print(f"{len(pages)} pages, {sum(len(page.links) for page in pages.values())} links")


if __name__ == "__main__":
    wrong = list(broken(Path(sys.argv[1]).resolve()))
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
