"""A figure as a file: its text is there to be read, in any script, and nothing global changes."""

import warnings
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from sslcore.evaluation.drawing import columns_of, svg_of
from sslcore.evaluation.error_figures import confusions_figure

LABELS = ["酒店", "books", "日本語の本"]


def texts_of(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_every_script_is_text_and_the_bytes_are_those_of_the_figure() -> None:
    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a glyph that matplotlib's font lacks is not drawn by it
        first, again = (svg_of(confusions_figure(np.eye(3, dtype=int), LABELS)) for _ in range(2))
    assert first == again
    assert {*LABELS, "predicted", "100"} <= set(texts_of(first))
    assert dict(matplotlib.rcParams) == before


@pytest.mark.filterwarnings("ignore:Glyph .* missing")
def test_wide_letters_are_given_room() -> None:
    def left_of_axes(labels: list[str]) -> float:
        """Inches."""
        figure = confusions_figure(np.eye(2, dtype=int), labels)
        svg_of(figure)
        return figure.axes[0].get_window_extent().x0 / figure.dpi - max(
            label.get_window_extent().width / figure.dpi for label in figure.axes[0].get_yticklabels()
        )

    assert columns_of("酒店 a") == 6
    narrow, wide = left_of_axes(["ab", "abcdefgh"]), left_of_axes(["酒店", "一二三四五六七八"])
    assert 0.15 < wide - narrow < 0.6  # eight letters of 8 points, 0.4 em more each: 0.36 inches
