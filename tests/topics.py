"""A task that can be learnt in seconds: sentences of four topics, and encoders that know nothing yet."""

import numpy as np
import torch

from sslcore.finetuning import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.models.encoder import Encoder
from sslcore.objectives.registry import AnyObjective
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words
from tests.unit.conftest import topic_texts

TOPICS = ["farming", "music", "sailing", "weaving"]
CLASS = Classification()
QUICK = FineTuning(epochs=2, minimum_steps=60)

Task = tuple[Encoder, LabelledTexts, LabelledTexts]  # to learn from, to choose by


def untrained(texts: list[str], objective: AnyObjective = SkipGram(dimensions=16)) -> Encoder:
    """An encoder with the objective's network as it starts."""
    tokenizer = fit_tokenizer(Words(minimum_count=1), texts)
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    return Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)


def labelled(encoder: Encoder, texts: list[str], labels: list[str], names: list[str] = TOPICS) -> LabelledTexts:
    encoded = EncodedTexts.of(texts, encoder.tokenizer, encoder.network, maximum_tokens=512)
    return LabelledTexts(encoded, np.array([names.index(label) for label in labels]))


def topic_task() -> Task:
    texts, labels = topic_texts(400, seed=0)
    held_out, held_out_labels = topic_texts(80, seed=1)
    encoder = untrained(texts)
    return encoder, labelled(encoder, texts, labels), labelled(encoder, held_out, held_out_labels)
