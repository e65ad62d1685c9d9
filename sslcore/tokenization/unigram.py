"""A unigram language model over pieces (Kudo 2018, as in SentencePiece): the most probable segmentation wins.

The one kind whose fit does not repeat to the bit: Hugging Face's trainer sums in the order of a hash table, so two fits
of the same text agree in (nearly) all tokens but not in the last digits of their scores. Fitted once, it is as
deterministic as the others.
"""

import json
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sslcore.tokenization.engine import SPECIAL_TOKENS, UNKNOWN_ID
from sslcore.tokenization.subword_family import SubwordTokenization

if TYPE_CHECKING:
    import tokenizers


class Unigram(SubwordTokenization, title="Unigram"):
    """Pieces chosen by likelihood, ▁ where a space stood. Needs no spaces: a good choice for Chinese and Japanese."""

    kind: Literal["unigram"] = "unigram"
    training_characters: int = Field(
        default=2_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="Pieces are learnt from at most this many characters, of documents taken evenly. A million take "
        "some 3 seconds where words have spaces between, a minute in Chinese.",
    )

    def untrained(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(models.Unigram())
        lower = [normalizers.Lowercase()] if self.lowercase else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *lower])
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation(behavior="isolated")]
        )
        tokenizer.decoder = decoders.Metaspace()
        return tokenizer

    def trained(self, texts: list[str]) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, trainers

        trainer = trainers.UnigramTrainer(
            vocab_size=self.vocabulary_size,
            special_tokens=list(SPECIAL_TOKENS),
            unk_token=SPECIAL_TOKENS[UNKNOWN_ID],
            show_progress=False,
        )
        tokenizer = self.untrained()
        tokenizer.train_from_iterator(texts, trainer)
        # Six decimals, which Hugging Face reads back to the bit (its reader of numbers is exact up to fifteen digits):
        # the tokenizer loaded is the tokenizer fitted.
        state = json.loads(tokenizer.to_str())
        state["model"]["vocab"] = [[piece, round(score, 6)] for piece, score in state["model"]["vocab"]]
        return Tokenizer.from_str(json.dumps(state))
