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
    from sslcore.objectives.cbow import CBOW
    from sslcore.objectives.denoising_autoencoder import DenoisingAutoencoder
    from sslcore.objectives.fast_text import FastText
    from sslcore.objectives.masked_lm import MaskedLM
    from sslcore.objectives.skip_gram import SkipGram
    from sslcore.serving.loading import load
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.training.pretraining import pretrain

_HOMES = {
    "CBOW": "sslcore.objectives.cbow",
    "DenoisingAutoencoder": "sslcore.objectives.denoising_autoencoder",
    "EncodedCorpus": "sslcore.tokenization.encoding",
    "Encoder": "sslcore.models.encoder",
    "FastText": "sslcore.objectives.fast_text",
    "MaskedLM": "sslcore.objectives.masked_lm",
    "SkipGram": "sslcore.objectives.skip_gram",
    "UserError": "sslcore.errors",
    "load": "sslcore.serving.loading",
    "pretrain": "sslcore.training.pretraining",
}
__all__ = [
    "CBOW",
    "DenoisingAutoencoder",
    "EncodedCorpus",
    "Encoder",
    "FastText",
    "MaskedLM",
    "SkipGram",
    "UserError",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sslcore' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
