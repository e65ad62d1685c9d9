"""From text to token ids and back: vocabularies of words or pieces of words, and corpora of ids on disk."""

from sslcore.tokenization.encoding import EncodedCorpus, encode_corpus
from sslcore.tokenization.registry import TOKENIZATION, Tokenization
from sslcore.tokenization.tokenizer import Tokenizer, fit_tokenizer, grow_tokenizer
from sslcore.tokenization.writing import write_tokenizer

__all__ = [
    "TOKENIZATION",
    "EncodedCorpus",
    "Tokenization",
    "Tokenizer",
    "encode_corpus",
    "fit_tokenizer",
    "grow_tokenizer",
    "write_tokenizer",
]
