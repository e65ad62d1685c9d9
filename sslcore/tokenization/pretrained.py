"""The tokenizer of a public checkpoint, with its ids: what going on from the checkpoint's weights needs."""

from collections.abc import Iterable, Sized
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.progress import Progress
from sslcore.tokenization.engine import Engine, Fitted
from sslcore.tokenization.special_tokens import special_ids
from sslcore.tokenization.subword_family import NO_TEXT, SubwordEngine, counts_of


class Pretrained(BaseModel, title="Tokenizer of a public checkpoint"):
    """Pieces of words as a public model has them. Nothing is learnt; the training split is only counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["pretrained"] = "pretrained"
    checkpoint: str = Field(
        min_length=1, description="Folder with tokenizer.json or vocab.txt, or a name on the Hugging Face hub."
    )

    def fit(self, texts: Iterable[str], progress: Progress) -> Fitted:
        engine = self.engine()
        total = len(texts) if isinstance(texts, Sized) else 0
        counts = counts_of(engine, texts, total, progress)
        if not counts.any():
            raise UserError(NO_TEXT)
        counts[list(special_ids(engine.tokens()))] = 0
        return Fitted(engine.tokens(), counts, engine)

    def engine(self) -> SubwordEngine:
        """The checkpoint's tokenizer at work. Raises UserError when it cannot be had, or has holes among its ids."""
        from transformers import AutoTokenizer

        from sslcore.huggingface import folder_of

        folder = folder_of(self.checkpoint)
        try:
            loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            tokenizer = loaded.backend_tokenizer
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UserError(
                f"{self.checkpoint} holds no tokenizer that Hugging Face's tokenizers can run: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        engine = SubwordEngine(tokenizer)
        if sorted(tokenizer.get_vocab().values()) != list(range(tokenizer.get_vocab_size())):
            raise UserError(f"the ids of the tokens of {self.checkpoint} have holes: give a checkpoint without any")
        special_ids(engine.tokens())
        return engine

    def restore(self, tokens: list[str], file: Path) -> Engine:
        from tokenizers import Tokenizer

        return SubwordEngine(Tokenizer.from_file(str(file)))


def unfitted(checkpoint: str) -> Fitted:
    """The checkpoint's vocabulary, nothing counted."""
    engine = Pretrained(checkpoint=checkpoint).engine()
    tokens = engine.tokens()
    return Fitted(tokens, np.zeros(len(tokens), np.int64), engine)
