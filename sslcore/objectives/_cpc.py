"""The GRU and the loss of contrastive predictive coding, apart from its configuration.

S vectors of a batch, R runs of them, L vectors of the longest run, D dimensions.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.objectives._sim_cse import found
from sslcore.objectives._vectors import drawing_from, vectors_of
from sslcore.training.collapse import alignment, collapse
from sslcore.training.precision import exact

if TYPE_CHECKING:
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.objectives.cpc import RunBatch


def cpc_loss(
    vectors_SD: torch.Tensor, contexts_SD: torch.Tensor, predictors_KDD: torch.Tensor, runs: np.ndarray
) -> dict[str, torch.Tensor]:
    """Predictor k of the context of t finds vector t + k + 1 of the same run among all S; mean over t and k."""
    device = vectors_SD.device
    last_S = np.repeat(runs[1:] - 1, np.diff(runs))
    sums: dict[str, torch.Tensor] = {}
    pairs = 0
    for k, predictor_DD in enumerate(predictors_KDD, 1):
        now = np.flatnonzero(np.arange(len(last_S)) + k <= last_S)
        if not len(now):
            break
        predicted_PD = contexts_SD[torch.from_numpy(now).to(device)] @ predictor_DD.T
        said = found(predicted_PD @ vectors_SD.T, torch.from_numpy(now + k).to(device))
        sums = {name: sums.get(name, 0) + value * len(now) for name, value in said.items()}
        pairs += len(now)
    return {name: value / pairs for name, value in sums.items()}


class ComingSentences(torch.nn.Module):
    def __init__(
        self, encoder: "TransformerEncoder", generator: torch.Generator, *, ahead: int, chunk: int = 0
    ) -> None:
        super().__init__()
        width = encoder.dimensions
        self.encoder = encoder
        with drawing_from(generator):
            self.gru = torch.nn.GRU(width, width, batch_first=True)
            self.predictors_KDD = torch.nn.Parameter(torch.randn(ahead, width, width) / width)
        self.standardise = torch.nn.BatchNorm1d(width, affine=False, track_running_stats=False)
        self.chunk = chunk

    def forward(self, batch: "RunBatch") -> dict[str, torch.Tensor]:
        vectors_SD = vectors_of(self.encoder, batch, self.chunk)
        with exact(vectors_SD.device):
            standard_SD = self.standardise(vectors_SD)
            contexts_SD = self.contexts(standard_SD, batch.runs)
            losses = cpc_loss(standard_SD, contexts_SD, self.predictors_KDD, batch.runs)
            return {**losses, **collapse(vectors_SD), "alignment": self.alignment(vectors_SD.detach(), batch.runs)}

    def alignment(self, vectors_SD: torch.Tensor, runs: np.ndarray) -> torch.Tensor:
        """Of each piece with the one after it."""
        later_S = torch.from_numpy(np.delete(np.arange(runs[-1]), runs[:-1])).to(vectors_SD.device)
        return alignment(vectors_SD[later_S - 1], vectors_SD[later_S])

    def contexts(self, vectors_SD: torch.Tensor, runs: np.ndarray) -> torch.Tensor:
        """[S, D]: what the GRU has read up to each vector of its run."""
        lengths = np.diff(runs)
        places = np.arange(runs[-1]) + np.repeat(np.arange(len(lengths)) * lengths.max() - runs[:-1], lengths)
        places_S = torch.from_numpy(places).to(vectors_SD.device)
        block = vectors_SD.new_zeros(len(lengths) * int(lengths.max()), vectors_SD.shape[1])
        block_RLD = block.index_copy(0, places_S, vectors_SD).unflatten(0, (len(lengths), -1))
        return self.gru(block_RLD)[0].flatten(0, 1)[places_S]
