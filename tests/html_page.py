"""A page of ours, taken apart."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input", "link", "img"}


class Page(HTMLParser):
    """Fails on tags that do not match; keeps the text, and the elements with their attributes."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.text += " "
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    def count(self, tag: str, kind: str) -> int:
        """Elements with this tag and class."""
        classes = [
            (given.get("class") or "").split() for name, given in self.elements if name == tag
        ]
        return sum(kind in names for names in classes)
