"""What an objective is: its own configuration, and four answers.

An objective is a frozen Pydantic model with a `kind` literal. Nothing else in sslcore knows the objectives apart, so
adding one is writing its file and naming it in registry.py.
"""

from typing import TYPE_CHECKING, Any, Protocol, Self

from sslcore.training.learner import Batches, Learner

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.registry import Tokenization
    from sslcore.tokenization.tokenizer import Tokenizer


class ObjectiveSeam(Protocol):
    @property
    def kind(self) -> str:
        """Its name in configurations."""

    @property
    def vocabulary_grows(self) -> bool:
        """Whether training that goes on from an encoder may add words to its vocabulary."""

    @property
    def tokenization(self) -> "Tokenization":
        """How text becomes ids where nothing is said of it."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Pydantic's: what encoder.json keeps."""

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        """Raise UserError if this objective cannot learn from this corpus on this device; before any work."""

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "torch.nn.Module":
        """A new encoder network with random weights; what else it needs to encode comes from the tokenizer."""

    def going_on_from(self, earlier: "Encoder") -> Self:
        """This objective with what an earlier encoder settles. Raises UserError where it cannot go on from that one."""

    def take_up(self, encoder: "Encoder", earlier: "Encoder") -> None:
        """Begin where an earlier encoder ended. Raises UserError where this one cannot, on this corpus."""

    def batches(self, corpus: "EncodedCorpus", seed: int) -> Batches:
        """The whole run, every epoch of it; a batch is a function of `seed` and its number."""

    def learner(self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int) -> Learner:
        """What updates the encoder, starting from the weights it has (fresh ones or those of an earlier run)."""
