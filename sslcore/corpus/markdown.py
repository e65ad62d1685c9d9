"""The prose of a Markdown file: marks, link targets, images, front matter and fenced code are not prose."""

import re

_STEPS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\A---\n.*?\n---\n", re.DOTALL), ""),  # front matter
    (re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE), ""),  # fenced code
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"!\[[^\]\n]*\](\([^)\n]*\)|\[[^\]\n]*\])"), ""),  # images
    (re.compile(r"\[([^\]\n]+)\](\([^)\n]*\)|\[[^\]\n]*\])"), r"\1"),  # links: their words
    (re.compile(r"^\s*\[[^\]\n]+\]:\s*\S+.*$", re.MULTILINE), ""),  # link definitions
    (re.compile(r"^\s{0,3}(#{1,6}|>+)\s*", re.MULTILINE), ""),  # headings, quotations
    (re.compile(r"^\s*([-*_]\s*){3,}$", re.MULTILINE), ""),  # rules
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)([*_])(?=\S)([^*_\n]+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
    (re.compile(r"\n{3,}"), "\n\n"),
)


def plain_text(markdown: str) -> str:
    """The text as one would read it aloud."""
    for pattern, replacement in _STEPS:
        markdown = pattern.sub(replacement, markdown)
    return markdown.strip()
