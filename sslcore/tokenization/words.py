"""Words as Unicode sees them (UAX #29): the default, for every language that writes spaces."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sslcore.tokenization.word_family import WordTokenization

if TYPE_CHECKING:
    import tokenizers

    from sslcore.tokenization.segments import Segments


class Words(WordTokenization, title="Words"):
    """Runs of letters and digits (don't, 3.14, num_layers), emoji; every Chinese character is a word of its own.

    Punctuation and spaces are left out. For Chinese words of several characters take `JiebaWords`.
    """

    kind: Literal["words"] = "words"
    lowercase: bool = Field(default=True, description="Write every word in lower case: The and the are one word.")

    def segment(self, texts: Sequence[str]) -> "Segments":
        from sslcore.tokenization.segmentation import segment_words

        return segment_words(texts, lowercase=self.lowercase)

    def huggingface_parts(self) -> "tuple[tokenizers.normalizers.Normalizer, tokenizers.pre_tokenizers.PreTokenizer]":
        from tokenizers import Regex, normalizers, pre_tokenizers

        from sslcore.tokenization.characters import APOSTROPHES, word_pattern

        steps = [normalizers.NFC(), normalizers.Replace(Regex(f"[{APOSTROPHES}]"), "'")]
        if self.lowercase:
            steps.append(normalizers.Lowercase())
        # "removed" with invert: what lies between two matches goes, the matches are the words.
        words = pre_tokenizers.Split(Regex(word_pattern()), behavior="removed", invert=True)
        return normalizers.Sequence(steps), words
