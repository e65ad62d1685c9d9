"""What turns batches into a better encoder: one protocol, and the two ways there are to implement it.

A learner has `update(batch) -> metrics` and an `encoder`. TorchLearner covers every differentiable loss; KernelLearner
covers hand-written updates in place (word2vec). Neither knows of epochs, logging or files: the loop's consumers do.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sslcore.training.devices import torch_threads
from sslcore.training.schedules import Schedule

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder

Metrics = dict[str, float]


class Batch(Protocol):
    """What an objective's `batches` yields: anything its learner understands that says where in the run it lies."""

    @property
    def tokens(self) -> int:
        """Raw tokens of the corpus this batch stands for."""

    @property
    def begin(self) -> float:
        """Share of the whole run before this batch, 0 to 1."""

    @property
    def end(self) -> float:
        """Share of the whole run after this batch; 1 for the last."""


class Learner(Protocol):
    @property
    def encoder(self) -> "Encoder":
        """The encoder with everything learned so far."""

    def update(self, batch: Any) -> Metrics:
        """One step; at least `loss` and `learning_rate`."""


class TorchLearner:
    """Gradient descent on `loss(batch)`, a module that holds the encoder's network and whatever only pretraining needs.

    Several optimisers may share the parameters between them; all follow one schedule. The number of `threads` decides
    how torch splits its sums, so it is part of what makes two runs equal.
    """

    def __init__(
        self,
        encoder: "Encoder",
        loss: "torch.nn.Module",
        optimizers: Sequence["torch.optim.Optimizer"],
        schedule: Schedule,
        *,
        threads: int,
    ) -> None:
        self.encoder = encoder
        self._loss = loss
        self._optimizers = optimizers
        self._schedule = schedule
        self._threads = threads

    def update(self, batch: Batch) -> Metrics:
        with torch_threads(self._threads):
            return self._update(batch)

    def _update(self, batch: Batch) -> Metrics:
        self._loss.train()
        rate = self._schedule(batch.begin)
        loss = self._loss(batch)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
        return {"loss": loss.item(), "learning_rate": rate}


class KernelLearner:
    """Updates in place by `update(batch, rate at its begin, rate at its end)`; `export` hands them over."""

    def __init__(
        self,
        encoder: "Encoder",
        update: Callable[[Any, float, float], Metrics],
        export: Callable[[], None],
        schedule: Schedule,
    ) -> None:
        self._encoder = encoder
        self._update = update
        self._export = export
        self._schedule = schedule

    @property
    def encoder(self) -> "Encoder":
        self._export()
        return self._encoder

    def update(self, batch: Batch) -> Metrics:
        rate_begin, rate_end = self._schedule(batch.begin), self._schedule(batch.end)
        return {**self._update(batch, rate_begin, rate_end), "learning_rate": rate_begin}
