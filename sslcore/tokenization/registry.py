"""The kinds of tokenization: the only list. A new kind is a file and a line here."""

from typing import Annotated

from pydantic import Field, TypeAdapter

from sslcore.tokenization.bpe import BPE
from sslcore.tokenization.jieba_words import JiebaWords
from sslcore.tokenization.pretrained import Pretrained
from sslcore.tokenization.space_separated import SpaceSeparated
from sslcore.tokenization.unigram import Unigram
from sslcore.tokenization.word_piece import WordPiece
from sslcore.tokenization.words import Words

OfWords = Words | JiebaWords | SpaceSeparated
Tokenization = Annotated[OfWords | BPE | WordPiece | Unigram | Pretrained, Field(discriminator="kind")]

TOKENIZATION: TypeAdapter[Tokenization] = TypeAdapter(Tokenization)
"""Validates a mapping or JSON into a member of the union."""
