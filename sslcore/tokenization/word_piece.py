"""WordPiece as BERT has it (Schuster & Nakajima 2012; Devlin et al. 2019): the longest known piece first, ## inside."""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from sslcore.tokenization.engine import SPECIAL_TOKENS, UNKNOWN_ID
from sslcore.tokenization.subword_family import SubwordTokenization

if TYPE_CHECKING:
    import tokenizers


class WordPiece(SubwordTokenization):
    """Words and pieces of words; punctuation and every Chinese character stand alone. Spaces are not kept."""

    kind: Literal["word_piece"] = "word_piece"
    minimum_count: int = Field(
        default=2, ge=1, le=1_000_000, description="Pairs seen fewer times in the training split are not merged."
    )
    lowercase: bool = Field(default=True, description="Write everything in lower case first, as uncased BERT does.")

    def untrained(self) -> "tokenizers.Tokenizer":
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

        tokenizer = Tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS[UNKNOWN_ID]))
        # Accents stay: taking them off changes words in most languages that have them.
        bert = normalizers.BertNormalizer(lowercase=self.lowercase, strip_accents=False)
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), bert])
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer

    def trainer(self) -> Any:
        from tokenizers import trainers

        return trainers.WordPieceTrainer(
            vocab_size=self.vocabulary_size,
            min_frequency=self.minimum_count,
            special_tokens=list(SPECIAL_TOKENS),
            # Single characters may take half the vocabulary, each twice (once with ##): the rare ones of a Chinese
            # corpus would otherwise leave no room for a word.
            limit_alphabet=self.vocabulary_size // 4,
            show_progress=False,
        )
