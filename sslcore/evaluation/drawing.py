"""What all plots have in common: colours, bare axes, and how a figure becomes a file that shows every script.

Colours are Okabe and Ito's, which people of every colour vision tell apart. No pyplot: nothing global changes.
"""

import io
import unicodedata
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
BASELINE = "#333333"

PAD = 0.04  # inches around what is drawn: matplotlib's own
NARROWER = 0.4  # em: by how much a box for a missing wide character is narrower than the character


def new_figure(width: float, height: float, panels: int = 1) -> "tuple[Figure, list[Axes]]":
    """Panels one below the other, of so many inches together."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", dpi=120)
    all_axes = [figure.add_subplot(panels, 1, place + 1) for place in range(panels)]
    for axes in all_axes:
        plain(axes)
    return figure, all_axes


def plain(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, alpha=0.25, linewidth=0.6)


def columns_of(text: str) -> int:
    """How wide a text is, in letters: Chinese characters and others as wide as they are count as two."""
    return len(text) + wide_characters(text)


def wide_characters(text: str) -> int:
    return sum(unicodedata.east_asian_width(character) in "WF" for character in text)


def svg_of(figure: "Figure") -> str:
    """The figure as SVG whose text stays text.

    matplotlib's own font has no Chinese, and few machines that train have another; who looks has the fonts of what
    they read, so their browser draws the letters. There is room left for those that are wider than matplotlib believed.
    """
    import matplotlib
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.text import Text

    texts: list[Any] = figure.findobj(Text)
    wider = [NARROWER * text.get_fontsize() * wide_characters(text.get_text()) for text in texts]
    room = PAD + max(wider, default=0.0) / 72  # points in an inch
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(w_pad=room, h_pad=room)
    file = io.StringIO()
    # The salt and no date: the same figure has the same bytes.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "sslcore"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
