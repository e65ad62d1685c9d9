"""Chinese words by jieba: the most probable path through a dictionary, a hidden Markov model for what it lacks.

`rjieba` is jieba (https://github.com/fxsjy/jieba) in Rust, dictionary included. The model for unknown words is always
on, so that a text has one segmentation, here and in production.
"""

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from sslcore.tokenization.word_family import WordTokenization

if TYPE_CHECKING:
    import tokenizers

    from sslcore.tokenization.segments import Segments


class JiebaWords(WordTokenization, title="Jieba words"):
    """Chinese words of one or more characters; runs of Latin letters and digits stay whole, accented ones break.

    Punctuation and spaces are left out. `tokenizer.json` expects text whose words jieba has put spaces between.
    """

    kind: Literal["jieba_words"] = "jieba_words"
    lowercase: bool = Field(default=True, description="Write Latin words in lower case: iPhone and iphone are one.")

    def segment(self, texts: Sequence[str]) -> "Segments":
        import pyarrow as pa
        import pyarrow.compute as pc
        import rjieba

        from sslcore.tokenization.segmentation import holds_word, normalised
        from sslcore.tokenization.segments import Segments, utf8

        utf8(texts)  # says which text is not one
        prepared = normalised(texts)
        if self.lowercase:
            prepared = [text.lower() for text in prepared]
        words = [rjieba.cut(text, True) for text in prepared]
        offsets = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(of_text) for of_text in words], out=offsets[1:])
        data, bounds = utf8(list(chain.from_iterable(words)))
        found = Segments(data, bounds, offsets, np.zeros(0, np.int64))
        lengths = pc.utf8_length(found.to_arrow()).cast(pa.int64()).to_numpy()
        ends = np.concatenate([[0], np.cumsum(lengths)])
        ends = ends[1:] - np.repeat(ends[offsets[:-1]], np.diff(offsets))
        return found._replace(ends=ends).only(holds_word(found))

    def huggingface_parts(self) -> "tuple[tokenizers.normalizers.Normalizer, tokenizers.pre_tokenizers.PreTokenizer]":
        from tokenizers import normalizers, pre_tokenizers

        steps = [normalizers.NFC(), *([normalizers.Lowercase()] if self.lowercase else [])]
        return normalizers.Sequence(steps), pre_tokenizers.WhitespaceSplit()
