"""Every objective as a run of a few steps, to be broken and started again."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sslcore.models.encoder import Encoder
from sslcore.objectives.autoencoder import Autoencoder
from sslcore.objectives.byol import BYOL
from sslcore.objectives.causal_lm import CausalLM
from sslcore.objectives.cbow import CBOW
from sslcore.objectives.combined import Combined
from sslcore.objectives.contractive_autoencoder import ContractiveAutoencoder
from sslcore.objectives.convolutional_autoencoder import ConvolutionalAutoencoder
from sslcore.objectives.cpc import CPC
from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
from sslcore.objectives.fast_text import FastText
from sslcore.objectives.info_nce import InfoNCE
from sslcore.objectives.label_augmentation import LabelAugmentation
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.objectives.moco import MoCo
from sslcore.objectives.next_sentence import NextSentence
from sslcore.objectives.registry import AnyObjective
from sslcore.objectives.replaced_tokens import ReplacedTokens
from sslcore.objectives.s4l import S4L
from sslcore.objectives.sentence_order import SentenceOrder
from sslcore.objectives.sequence_denoising import SequenceDenoising
from sslcore.objectives.sim_cse import SimCSE
from sslcore.objectives.sim_siam import SimSiam
from sslcore.objectives.skip_gram import SkipGram
from sslcore.objectives.sparse_autoencoder import SparseAutoencoder
from sslcore.objectives.stacked_autoencoder import StackedAutoencoder
from sslcore.objectives.tsdae import TSDAE
from sslcore.objectives.variational_autoencoder import VariationalAutoencoder
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.learner import Metrics
from sslcore.training.pretraining import pretrain

LISTS = [[f"w{(i * j) % 97}" for j in range(60)] for i in range(1, 700)]
SMALL: dict[str, Any] = {"size": "tiny", "dimensions": 16, "layers": 1, "batch_size": 150, "epochs": 2}
OF_PIECES: dict[str, Any] = {"size": "tiny", "dimensions": 16, "maximum_tokens": 32, "batch_tokens": 8192, "epochs": 2}
OBJECTIVES: dict[str, AnyObjective] = {
    "skip_gram": SkipGram(dimensions=8, epochs=6, deterministic=True),
    "hierarchical": SkipGram(dimensions=8, epochs=6, deterministic=True, output="hierarchical_softmax"),
    "cbow": CBOW(dimensions=8, epochs=6, deterministic=True),
    "fast_text": FastText(dimensions=8, epochs=6, deterministic=True, buckets=500),
    "denoising_autoencoder": DenoisingAutoencoder(dimensions=8, epochs=3),
    **{
        o.kind: o
        for o in (
            SimCSE(**SMALL, head="mlp"),
            InfoNCE(**SMALL, chunk=50),
            MoCo(**SMALL, queue=256),
            BYOL(**SMALL),
            SimSiam(**SMALL),
            CPC(**SMALL),
            TSDAE(**SMALL, parts=2),
        )
    },
    **{
        o.kind: o
        for o in (
            MaskedLM(**OF_PIECES),
            CausalLM(**OF_PIECES),
            ReplacedTokens(**OF_PIECES, parts=2),
            NextSentence(**OF_PIECES),
            SentenceOrder(**OF_PIECES, masked_share=0),
            SequenceDenoising(**OF_PIECES, deletion=0.1),
        )
    },
    **{precision: MaskedLM(**OF_PIECES, parts=2, precision=precision) for precision in ("bfloat16", "float16")},
    "combined": Combined(
        **{**OF_PIECES, "epochs": 1},
        parts=2,
        members=[{"kind": kind, "batch_size": 150} for kind in ("tsdae", "moco", "byol")],
    ),
    "label_augmentation": LabelAugmentation(**OF_PIECES),
    "s4l": S4L(**OF_PIECES, parts=2),
    "autoencoder": Autoencoder(dimensions=8, epochs=3),
    "stacked_autoencoder": StackedAutoencoder(dimensions=8, hidden_dimensions=12, epochs=3),
    "sparse_autoencoder": SparseAutoencoder(dimensions=8, epochs=3),
    "contractive_autoencoder": ContractiveAutoencoder(dimensions=8, epochs=3),
    "convolutional_autoencoder": ConvolutionalAutoencoder(dimensions=8, word_dimensions=8, channels=8, epochs=3),
    "variational_autoencoder": VariationalAutoencoder(dimensions=8, hidden_dimensions=12, epochs=3),
}


class StoppedError(Exception):
    pass


class Run(NamedTuple):
    steps: list[tuple[int, Metrics]]
    weights: dict[str, bytes]


def labelled_corpus() -> EncodedCorpus:
    made = EncodedCorpus.from_token_lists(LISTS)
    made.labels, made.label_names = np.arange(made.documents, dtype=np.int32) % 2, ("even", "odd")
    return made


def in_one_go(objective: AnyObjective, corpus: EncodedCorpus) -> Run:
    heard: list[tuple[int, Metrics]] = []
    encoder = pretrain(objective, corpus, seed=3, on_metrics=lambda step, metrics: heard.append((step, metrics)))
    return Run(heard, _weights(encoder))


def in_pieces(objective: AnyObjective, corpus: EncodedCorpus, folder: Path) -> Run:
    """Broken in its second step, in the fourth after that, and then not."""
    heard: list[tuple[int, Metrics]] = []

    def hear(step: int, metrics: Metrics) -> None:
        heard.append((step, metrics))
        if len(heard) == stop:  # in the middle of a step: the checkpoint of the one before stands
            raise StoppedError

    for stop in (2, 4):
        heard.clear()
        try:
            pretrain(objective, corpus, seed=3, on_metrics=hear, checkpoints=folder)
        except StoppedError:
            continue
        raise AssertionError(f"{objective.kind} ended before step {stop}")
    heard.clear()
    stop = None
    encoder = pretrain(objective, corpus, seed=3, on_metrics=hear, checkpoints=folder)
    return Run(heard, _weights(encoder))


def _weights(encoder: Encoder) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in encoder.network.state_dict().items()}
