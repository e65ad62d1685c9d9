"""Self-supervised pretraining on text, and the measure of whether it was worth it.

    import sslcore
    encoder = sslcore.pretrain(sslcore.SkipGram(), token_lists, seed=0)
    encoder.encode(["a text"])          # float32 [1, 100]
    encoder.save("folder"); sslcore.load("folder")

Names are imported when first used, so `import sslcore` itself takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslcore.errors import UserError
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
    from sslcore.serving.loading import load
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.training.pretraining import pretrain
    from sslcore.training.probing import Probing

_HOMES = {
    "Autoencoder": "sslcore.objectives.autoencoder",
    "BYOL": "sslcore.objectives.byol",
    "CBOW": "sslcore.objectives.cbow",
    "CPC": "sslcore.objectives.cpc",
    "CausalLM": "sslcore.objectives.causal_lm",
    "Combined": "sslcore.objectives.combined",
    "ContractiveAutoencoder": "sslcore.objectives.contractive_autoencoder",
    "ConvolutionalAutoencoder": "sslcore.objectives.convolutional_autoencoder",
    "DenoisingAutoencoder": "sslcore.objectives.denoising_autoencoder",
    "EncodedCorpus": "sslcore.tokenization.encoding",
    "Encoder": "sslcore.models.encoder",
    "FastText": "sslcore.objectives.fast_text",
    "InfoNCE": "sslcore.objectives.info_nce",
    "LabelAugmentation": "sslcore.objectives.label_augmentation",
    "MaskedLM": "sslcore.objectives.masked_lm",
    "MoCo": "sslcore.objectives.moco",
    "NextSentence": "sslcore.objectives.next_sentence",
    "Probing": "sslcore.training.probing",
    "ReplacedTokens": "sslcore.objectives.replaced_tokens",
    "S4L": "sslcore.objectives.s4l",
    "SentenceOrder": "sslcore.objectives.sentence_order",
    "SequenceDenoising": "sslcore.objectives.sequence_denoising",
    "SimCSE": "sslcore.objectives.sim_cse",
    "SimSiam": "sslcore.objectives.sim_siam",
    "SkipGram": "sslcore.objectives.skip_gram",
    "SparseAutoencoder": "sslcore.objectives.sparse_autoencoder",
    "StackedAutoencoder": "sslcore.objectives.stacked_autoencoder",
    "TSDAE": "sslcore.objectives.tsdae",
    "UserError": "sslcore.errors",
    "VariationalAutoencoder": "sslcore.objectives.variational_autoencoder",
    "load": "sslcore.serving.loading",
    "pretrain": "sslcore.training.pretraining",
}
__all__ = [
    "BYOL",
    "CBOW",
    "CPC",
    "S4L",
    "TSDAE",
    "Autoencoder",
    "CausalLM",
    "Combined",
    "ContractiveAutoencoder",
    "ConvolutionalAutoencoder",
    "DenoisingAutoencoder",
    "EncodedCorpus",
    "Encoder",
    "FastText",
    "InfoNCE",
    "LabelAugmentation",
    "MaskedLM",
    "MoCo",
    "NextSentence",
    "Probing",
    "ReplacedTokens",
    "SentenceOrder",
    "SequenceDenoising",
    "SimCSE",
    "SimSiam",
    "SkipGram",
    "SparseAutoencoder",
    "StackedAutoencoder",
    "UserError",
    "VariationalAutoencoder",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sslcore' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
