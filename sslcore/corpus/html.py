"""The main text of a web page."""

from selectolax.lexbor import LexborHTMLParser

_CLUTTER = "script, style, noscript, template, nav, header, footer, aside, form, button, svg, iframe, select"


def main_text(html: str) -> str:
    """Title and prose of a page, one block a line."""
    tree = LexborHTMLParser(html)
    for node in tree.css(_CLUTTER):
        node.decompose()
    body = tree.body
    return body.text(separator="\n", strip=True) if body else ""
