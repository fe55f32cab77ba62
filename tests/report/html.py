"""A strict reader of the page: every tag closed in order, and the parts a test asks about."""

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "hr", "img", "link", "source", "wbr"}


class Page(HTMLParser):
    """Parses at once; raises ValueError where the page is not well formed.

    Attributes:
        elements: (tag, attributes) in order.
        texts: the text of every element that has any, by tag; scripts and style included.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        if self.open:
            raise ValueError(f"left open: {self.open}")

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            raise ValueError(f"<{tag}> repeats an attribute: {names}")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            raise ValueError(f"</{tag}> at {self.getpos()} closes {self.open[-1:]}")
        self.open.pop()

    def handle_data(self, data):
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of a tag."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def prose(self) -> str:
        """All text a reader sees."""
        return " ".join(text for tag, texts in self.texts.items() if tag not in ("script", "style") for text in texts)
