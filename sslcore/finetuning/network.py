"""The classifier: an encoder's network, its output brought to unit scale, and a linear head.

B texts in a batch, D dimensions of the encoder, C classes. Mean-pooled word vectors have a common offset and uneven
scales, which makes one learning rate wrong for the head; so the features are standardised by the mean and spread that
the untouched encoder gives on the training rows. Both are buffers: they are saved with the weights and never learn.
"""

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.encoded import EncodedTexts

# A freshly initialised network may give features a hundredth as wide as a pretrained one. Blown up to unit scale, one
# update would throw them about by tens of spreads: skip-gram's network from scratch then reached 0.54 macro-F1 with 32
# labels per class of the documentation corpus, where it reaches 0.62 with this floor.
SMALLEST_SPREAD = 0.05


class ClassifierNetwork(nn.Module):
    """logits_BC = head((encoder(texts)_BD − feature_mean) / feature_spread)."""

    feature_mean: torch.Tensor
    feature_spread: torch.Tensor

    def __init__(self, encoder: nn.Module, dimensions: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("feature_mean", torch.zeros(dimensions))
        self.register_buffer("feature_spread", torch.ones(dimensions))
        with torch.random.fork_rng(devices=[]):  # the usual start draws from the global generator
            self.head = nn.Linear(dimensions, classes)
        nn.init.zeros_(self.head.weight)  # every class starts equally likely, whatever the seed
        nn.init.zeros_(self.head.bias)

    def standardise_by(self, features_BD: torch.Tensor) -> None:
        """Fix mean and spread by these features."""
        self.feature_mean.copy_(features_BD.mean(dim=0))
        self.feature_spread.copy_(features_BD.std(dim=0, correction=0).clamp_min(SMALLEST_SPREAD))

    def standardised(self, features_BD: torch.Tensor) -> torch.Tensor:
        return (features_BD - self.feature_mean) / self.feature_spread

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Logits [B, C] of flat token ids int64 [tokens] and offsets int64 [B + 1]."""
        return self.head(self.standardised(self.encoder(ids, offsets)))


def dropped(features_BD: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Dropout (Srivastava et al. 2014) whose zeros come from `generator`: torch's own draws from the global one."""
    if not rate:
        return features_BD
    keep_BD = torch.empty_like(features_BD).bernoulli_(1 - rate, generator=generator)
    return features_BD * keep_BD / (1 - rate)


def tensors(texts: EncodedTexts, device: str | torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids and offsets as the networks take them."""
    return (
        torch.from_numpy(texts.ids.astype(np.int64)).to(device),
        torch.from_numpy(texts.offsets).to(device),
    )


@torch.no_grad()
def outputs(network: nn.Module, texts: EncodedTexts, *, batch_size: int = 1024) -> np.ndarray:
    """float32 [len(texts), outputs] of `network` in evaluation mode, batch by batch, on its own device."""
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    parts = [
        network(*tensors(texts.take(np.arange(start, min(start + batch_size, len(texts)))), device)).cpu()
        for start in range(0, len(texts), batch_size)
    ]
    network.train(training)
    return torch.cat(parts).numpy() if parts else np.empty((0, 0), np.float32)
