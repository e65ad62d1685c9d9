"""What a shape of labelled rows answers, and what the one training loop needs of its examples and its network.

Adding a shape is one new file here and a line in registry.py. Letters: n rows, B of a batch, D dimensions.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.encoded import EncodedTexts
from sslcore.training.precision import exact

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder


class Examples(Protocol):
    """n rows as token ids, and what is right of each."""

    def __len__(self) -> int: ...

    @property
    def texts(self) -> tuple[EncodedTexts, ...]:
        """All ids that the encoder reads, a text or two of each row."""

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> Self:
        """The same rows with the ids written otherwise."""

    def take(self, rows: np.ndarray) -> Self:
        """These rows, in their order."""


Reads = Literal["text", "two texts", "pair", "window"]


class PaddedStates(NamedTuple):
    """What an encoder makes of B sequences that are padded to L tokens: the one form that other runtimes take."""

    states: torch.Tensor  # [B, L, D]
    pooled: torch.Tensor  # [B, D], of each sequence
    vectors: torch.Tensor  # [B, D]: the same, but zeros where no token is known, as the encoder has it of a text


class DownstreamNetwork(nn.Module):
    """An encoder's network under a head. Everything outside `encoder` is the head.

    A shape's network says what the head sees (`features`), what it makes of that (`decided`), and its loss. The last
    three methods are for runtimes that know nothing of examples: see serving/onnx.py.
    """

    encoder: nn.Module

    reads: ClassVar[Reads]
    """What a sequence is: a text; each of two texts; a pair, cut to so many tokens or, with its frame, to a window."""

    def features(self, examples: Any) -> torch.Tensor:
        """What the encoder alone gives: the same at every pass while it is frozen."""
        raise NotImplementedError

    def decided(self, features: torch.Tensor, examples: Any) -> torch.Tensor:
        """The outputs, of the features."""
        raise NotImplementedError

    def loss(self, outputs: torch.Tensor, examples: Any) -> torch.Tensor:
        """The mean loss of the outputs; a scalar."""
        raise NotImplementedError

    def forward(self, examples: Any) -> torch.Tensor:
        features = self.features(examples)
        with exact(features.device):
            return self.decided(features.float(), examples)

    def prepare(self, examples: Any) -> None:
        """Set what follows from the training rows, before the first step."""

    def dropped_out(self, features: torch.Tensor, share: float) -> torch.Tensor:
        """The features in training, a share of them zeroed."""
        return nn.functional.dropout(features, share)

    def monitors(self, outputs: torch.Tensor, examples: Any) -> dict[str, torch.Tensor]:
        """What is told of a training batch beside its loss, by name; scalars."""
        return {}

    def notes(self, labels: Sequence[str]) -> tuple[str, ...]:
        """What the summary of a run has to say of how the training rows were counted."""
        return ()

    def head_parameters(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if not name.startswith("encoder.")]

    def padded_features(self, *read: PaddedStates) -> torch.Tensor:
        """As `features`, of what the encoder gave; `decided` takes them with None in the place of examples."""
        raise NotImplementedError

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """What outputs, after the temperature, are to somebody else, by name."""
        raise NotImplementedError

    def beside(self) -> dict[str, Any]:
        """What else is needed to make answers of those: file name → its JSON."""
        return {}


class Shape(Protocol):
    """A kind of labelled rows: its own configuration, a frozen Pydantic model with a `kind`."""

    columns: ClassVar[tuple[str, ...]]
    """What a row is read from; also what a served model asks for."""

    @property
    def kind(self) -> str: ...

    @property
    def target(self) -> str:
        """The column of what is right."""

    @property
    def chosen_by(self) -> tuple[str, ...]:
        """Metrics that choose among weights, the first before the next; one that begins with "-" is better lower."""

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        """The labels that training rows have, in the order of the outputs; empty where outputs are no labels.

        Raises UserError that names the rows whose target is none, or when there is nothing to learn.
        """

    def examples(self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int) -> Examples:
        """The rows as token ids; what is right of them too, where the rows have the target's column."""

    def check(self, train: Any, labels: Sequence[str]) -> None:
        """Raise UserError when there is nothing to learn from these examples."""

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> DownstreamNetwork:
        """A head on this encoder's network, which is taken as it is, not copied."""

    def metrics(self, outputs: np.ndarray, examples: Any, labels: Sequence[str]) -> dict[str, float]:
        """How good outputs are, by name; all that `chosen_by` names are among them."""

    def predictions(self, outputs: np.ndarray, examples: Any, labels: Sequence[str]) -> dict[str, list[Any]]:
        """Column → a value for each row: what a served model answers."""
