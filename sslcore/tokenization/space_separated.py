"""Words that somebody has segmented already, with spaces between: another segmenter's output, or ids of any entity."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from sslcore.tokenization.word_family import WordTokenization

if TYPE_CHECKING:
    import tokenizers

    from sslcore.tokenization.segments import Segments


class SpaceSeparated(WordTokenization, title="Space-separated"):
    """Whatever stands between two spaces, kept to the letter: punctuation, case and all."""

    kind: Literal["space_separated"] = "space_separated"

    def segment(self, texts: Sequence[str]) -> "Segments":
        from sslcore.tokenization.segmentation import segment_at_spaces

        return segment_at_spaces(texts)

    def huggingface_parts(self) -> "tuple[tokenizers.normalizers.Normalizer, tokenizers.pre_tokenizers.PreTokenizer]":
        from tokenizers import normalizers, pre_tokenizers

        return normalizers.Sequence([]), pre_tokenizers.WhitespaceSplit()
