"""WordPiece as BERT has it (Schuster & Nakajima 2012; Devlin et al. 2019): the longest known piece first, ## inside."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sslcore.tokenization.engine import SPECIAL_TOKENS, UNKNOWN_ID
from sslcore.tokenization.subword_family import SubwordTokenization

if TYPE_CHECKING:
    import tokenizers

MARK = "\ue000"  # for private use, and BERT's normalizer takes such characters out of the text


class WordPiece(SubwordTokenization, title="WordPiece"):
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

    def trained(self, texts: list[str]) -> "tokenizers.Tokenizer":
        """Learn merges as BPE does over words that begin with a mark, then write the pieces BERT's way.

        Hugging Face's own WordPieceTrainer numbers its ## pieces in the order of a hash table and breaks ties by those
        numbers: two fits of one text differ. This gives the same pieces, the same way every time. Its BpeTrainer would
        choose among characters that are equally rare in such an order too, so it is told which to take.
        """
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        merging = Tokenizer(models.BPE())
        merging.normalizer = self.untrained().normalizer
        merging.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Metaspace(replacement=MARK, split=False)]
        )
        # Single characters may take half the vocabulary, each twice (once with ##): the rare ones of a Chinese corpus
        # would otherwise leave no room for a word.
        alphabet = [MARK, *most_frequent(map(merging.normalizer.normalize_str, texts), self.vocabulary_size // 4 - 1)]
        trainer = trainers.BpeTrainer(
            vocab_size=self.vocabulary_size,
            min_frequency=self.minimum_count,
            initial_alphabet=alphabet,
            limit_alphabet=len(alphabet),
            show_progress=False,
        )
        merging.train_from_iterator(texts, trainer)
        learnt = sorted(merging.get_vocab().items(), key=lambda item: item[1])
        single = [token for token, _ in learnt if len(token) == 1 and token != MARK]
        longer = [token for token, _ in learnt if len(token) > 1]
        pieces = [*SPECIAL_TOKENS, *single, *(f"##{token}" for token in single)]
        pieces += [token[1:] if token.startswith(MARK) else f"##{token}" for token in longer]
        distinct = list(dict.fromkeys(pieces))[: self.vocabulary_size]
        tokenizer = self.untrained()
        vocabulary = {token: number for number, token in enumerate(distinct)}
        tokenizer.model = models.WordPiece(vocabulary, unk_token=SPECIAL_TOKENS[UNKNOWN_ID])
        tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
        return tokenizer


def most_frequent(texts: Iterable[str], most: int) -> list[str]:
    """The characters of the texts but for spaces, `most` of them; of equally frequent ones the first in Unicode."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    characters = [character for character in counts if not character.isspace()]
    return sorted(characters, key=lambda character: (-counts[character], character))[:most]
