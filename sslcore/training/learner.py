"""What turns batches into a better encoder: one protocol, and the two ways there are to implement it.

A learner has `update(batch) -> metrics` and an `encoder`. TorchLearner covers every differentiable loss; KernelLearner
covers hand-written updates in place (word2vec). Neither knows of epochs, logging or files: the loop's consumers do.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

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

    def finish(self) -> "Encoder":
        """The same at the end: what only training needs is let go of, and the learner is no longer one."""

    def update(self, batch: Any) -> Metrics:
        """One step; at least `loss` and `learning_rate`."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `update` changes: what a checkpoint holds."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Go on from what `state` said in a learner of the same objective, corpus and seed."""


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

    def finish(self) -> "Encoder":
        return self.encoder

    def update(self, batch: Batch) -> Metrics:
        with torch_threads(self._threads):
            return self._update(batch)

    def state(self) -> dict[str, np.ndarray]:
        state = {f"loss.{name}": tensor.cpu().numpy() for name, tensor in self._loss.state_dict().items()}
        for number, optimizer in enumerate(self._optimizers):
            for parameter, values in optimizer.state_dict()["state"].items():
                for name, value in values.items():
                    state[f"optimizer.{number}.{parameter}.{name}"] = value.cpu().numpy()
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        import torch

        tensors = {name: torch.from_numpy(array) for name, array in state.items()}
        self._loss.load_state_dict({n.removeprefix("loss."): t for n, t in tensors.items() if n.startswith("loss.")})
        for number, optimizer in enumerate(self._optimizers):
            values: dict[int, dict[str, torch.Tensor]] = {}
            for path, tensor in tensors.items():
                kind, _, rest = path.partition(".")
                if kind == "optimizer" and rest.startswith(f"{number}."):
                    _, parameter, name = rest.split(".")
                    values.setdefault(int(parameter), {})[name] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": values})

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
    """Updates of `matrices` in place by `update(batch, rate at its begin, at its end)`; `export` hands them over.

    What `export` does not hold, `finish` lets go of first.
    """

    def __init__(
        self,
        encoder: "Encoder",
        update: Callable[[Any, float, float], Metrics],
        export: Callable[[], None],
        schedule: Schedule,
        matrices: dict[str, "torch.Tensor"],
    ) -> None:
        self._encoder = encoder
        self._update = update
        self._export = export
        self._schedule = schedule
        self.matrices = matrices

    @property
    def encoder(self) -> "Encoder":
        self._export()
        return self._encoder

    def finish(self) -> "Encoder":
        """Before the network has its vectors again: at no time does memory hold more than two matrices."""
        del self._update, self.matrices
        return self.encoder

    def state(self) -> dict[str, np.ndarray]:
        return {name: matrix.cpu().numpy() for name, matrix in self.matrices.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        import torch

        for name, matrix in self.matrices.items():
            saved = torch.from_numpy(state[name])
            columns = min(matrix.shape[1], saved.shape[1])  # rows are padded as the machine at work likes them
            matrix[:, :columns] = saved[:, :columns].to(matrix.device)

    def update(self, batch: Batch) -> Metrics:
        rate_begin, rate_end = self._schedule(batch.begin), self._schedule(batch.end)
        return {**self._update(batch, rate_begin, rate_end), "learning_rate": rate_begin}
