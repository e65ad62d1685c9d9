"""Byte-pair encoding over bytes (Sennrich et al. 2016; over bytes: Radford et al. 2019): nothing is ever unknown."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sslcore.tokenization.engine import SPECIAL_TOKENS
from sslcore.tokenization.subword_family import SubwordTokenization

if TYPE_CHECKING:
    import tokenizers


class BPE(SubwordTokenization, title="BPE"):
    """The most frequent pairs of pieces merged, from single bytes up. Decoding gives back the text, spaces and all."""

    kind: Literal["bpe"] = "bpe"
    minimum_count: int = Field(
        default=2, ge=1, le=1_000_000, description="Pairs seen fewer times in the training split are not merged."
    )

    def untrained(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(models.BPE(unk_token=None))
        lower = [normalizers.Lowercase()] if self.lowercase else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *lower])
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return tokenizer

    def trained(self, texts: list[str]) -> "tokenizers.Tokenizer":
        from tokenizers import pre_tokenizers, trainers

        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary_size,
            min_frequency=self.minimum_count,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer = self.untrained()
        tokenizer.train_from_iterator(texts, trainer)
        return tokenizer
