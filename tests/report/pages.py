"""Reading pages back."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "link", "img", "br", "hr"}


@dataclass
class Parsed:
    """What a page consists of."""

    elements: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)  # the innermost tag and its text
    faults: list[str] = field(default_factory=list)

    @property
    def tags(self) -> list[str]:
        return [tag for tag, _ in self.elements]

    def text(self, tag: str) -> str:
        """The text of the first element of that tag."""
        return next(text for found, text in self.texts if found == tag and text.strip())

    def check(self) -> None:
        """Everything is closed in order, ids are unique, links within lead somewhere, nothing comes from elsewhere."""
        assert not self.faults, self.faults
        ids = [a["id"] for _, a in self.elements if "id" in a]
        assert len(set(ids)) == len(ids)
        assert not {"script", "iframe", "object", "embed", "video", "audio", "base", "form"} & set(self.tags)
        for tag, attributes in self.elements:
            for name in ("src", "href", "srcset", "poster", "data", "action", "background", "xlink:href"):
                address = attributes.get(name)
                local = address is None or address.startswith("data:") or (address[:1] == "#" and address[1:] in ids)
                assert local, f"{tag} {name}={address}"
        for tag, attributes in self.elements:
            assert tag != "img" or attributes.get("alt")
        styles = "".join(text for tag, text in self.texts if tag == "style")
        assert "url(" not in styles
        assert "@import" not in styles


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found, self.open = Parsed(), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len(dict(attrs)) != len(attrs):
            self.found.faults.append(f"{tag} repeats an attribute")
        if self.open and self.open[-1] == "p" and tag in ("p", "div", "table", "section", "pre", "ul"):
            self.found.faults.append(f"{tag} within p")
        self.found.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.found.faults.append(f"</{tag}> closes {self.open[-1:]}")
        else:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.found.texts.append((self.open[-1], data))


def parse(page: str) -> Parsed:
    """A page's elements and texts."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    if parser.open:
        parser.found.faults.append(f"never closed: {parser.open}")
    return parser.found
