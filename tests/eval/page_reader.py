"""Reads an HTML page as a browser would, for tests."""

from html.parser import HTMLParser


class Reader(HTMLParser):
    """Collects headings, addresses and whether every element that was opened was closed."""

    VOID = {"meta", "img", "br", "link", "path", "use", "rect"}

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.addresses, self.pictures = [], [], [], 0

    def handle_starttag(self, tag, attributes):
        self.pictures += tag == "img"
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
