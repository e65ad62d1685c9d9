"""What turns batches into a better encoder: one protocol, and the two ways there are to implement it.

A learner has `update(batch) -> metrics` and an `encoder`. TorchLearner covers every differentiable loss; KernelLearner
covers hand-written updates in place (word2vec). Neither knows of epochs, logging or files: the loop's consumers do.
"""

import contextlib
import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sslcore.randomness import derive_seed, drawn_from
from sslcore.training.devices import torch_threads
from sslcore.training.memory import is_refusal, too_large_a_step
from sslcore.training.precision import Precision, computing
from sslcore.training.schedules import Schedule

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.training.distributed import Team

Metrics = dict[str, float]

RESERVE = 2**26  # bytes


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


class Batches(Protocol):
    """The batches of a whole run, every epoch of it. Each follows from the seed and its number alone.

    So a run goes on at any step without making those before it again, and in whatever order they are made.
    """

    def __len__(self) -> int:
        """Steps of the run."""

    def __getitem__(self, step: int) -> Any:
        """A Batch; steps count from 0."""


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

    def slow_down(self, factor: float) -> None:
        """Multiply the learning rate of what is still to come."""

    def in_team(self, team: "Team") -> "Learner":
        """The learner that does its part of every batch among the processes of a team."""


class TorchLearner:
    """Gradient descent on `loss(batch)["loss"]`, a module of the encoder's network and what only pretraining needs.

    The module returns scalars by name; those beside `loss` are metrics. Several optimisers may share the parameters
    between them; all follow one schedule, a group with a `share_of_rate` at that share of it. What the module draws
    from torch's own generator, as dropout does, follows from `seed`, the step and the process alone, so that no
    generator has a state to be kept; with None the module sees to that.
    The number of `threads` decides how torch splits its sums, so it is part of what makes two runs equal.

    precision: "float32"; "bfloat16" or "float16" compute products in it, by torch's autocast, the latter with a scaled
    loss. gradient_norm: gradients longer than this are scaled to it. parts: a batch is computed in as many, one after
    the other, to save memory, which a batch does that has `split(parts)` and `weight`, its share in a mean of losses.
    """

    def __init__(
        self,
        encoder: "Encoder",
        loss: "torch.nn.Module",
        optimizers: Sequence["torch.optim.Optimizer"],
        schedule: Schedule,
        *,
        threads: int,
        seed: int | None,
        precision: Precision = "float32",
        gradient_norm: float | None = None,
        parts: int = 1,
    ) -> None:
        import torch

        self.encoder = encoder
        self._loss = loss
        self._module: Any = loss  # the loss, or what spreads it over processes
        self._optimizers = optimizers
        self._schedule = schedule
        self._threads = threads
        self._seed = seed
        self._gradient_norm = gradient_norm
        self._parts = parts
        self._steps = 0
        self._rate_factor = 1.0
        self._team: Team | None = None
        self._device = next(loss.parameters()).device
        self._precision: Precision = precision
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "float16")
        # Given back when memory is out, so that what is tried then has room beside a heap that never shrinks. Until
        # then it is an address and no memory.
        self._reserve = torch.empty(RESERVE, dtype=torch.uint8) if self._device.type == "cpu" else None
        self.flops_per_token: float | None = None  # of the first step here; None on a CPU, where nobody asks

    def finish(self) -> "Encoder":
        self._module = self._loss  # what spreads it holds on to the processes' group
        heads: Any = getattr(self._loss, "heads", None)
        if heads is not None:
            self.encoder.heads = heads()
        return self.encoder

    def slow_down(self, factor: float) -> None:
        self._rate_factor *= factor

    def in_team(self, team: "Team") -> "TorchLearner":
        """Gradients are averaged by torch's DistributedDataParallel; a batch has `share(rank, size)` and `weight`."""
        import torch

        devices = [self._device] if self._device.type == "cuda" else None
        resting = getattr(self._loss, "trains_in_turns", False)  # some parameters get no gradient in a step
        self._module = torch.nn.parallel.DistributedDataParallel(
            self._loss, device_ids=devices, find_unused_parameters=resting
        )
        self._team = team
        return self

    def update(self, batch: Any) -> Metrics:
        return self.update_at(batch, self._schedule(batch.begin) * self._rate_factor)

    def update_at(self, batch: Any, rate: float) -> Metrics:
        """One step at this learning rate, whatever the schedule says.

        Raises OutOfMemoryError that names what would fit; the weights are those before the step.
        """
        with torch_threads(self._threads), self._draws(self._team.rank if self._team else 0):
            try:
                counted = self._device.type != "cuda" or self.flops_per_token is not None
                metrics = self._update(batch, rate) if counted else self.counted(batch, rate)
                self._steps += 1
                return metrics
            except (MemoryError, RuntimeError) as error:
                if not is_refusal(error):
                    raise
                said = (str(error) or type(error).__name__).splitlines()[0]
            # Out here: the error holds on to all that the step had in memory.
            raise too_large_a_step(self.encoder.objective, str(self._device), said, self._fitting(batch))

    def counted(self, batch: Any, rate: float) -> Metrics:
        """A step, and its floating point operations a token of the batch in `flops_per_token`."""
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            metrics = self._update(batch, rate)
        self.flops_per_token = counter.get_total_flops() * (self._team.size if self._team else 1) / batch.tokens
        return metrics

    def loss_of(self, batch: Any) -> float:
        """Of the weights as they are, with the draws of the step to come."""
        import torch

        self._loss.train()
        with torch.no_grad(), torch_threads(self._threads), self._draws(0):
            return float(self._loss(batch)["loss"])

    def _draws(self, rank: int) -> contextlib.AbstractContextManager[None]:
        if self._seed is None:
            return contextlib.nullcontext()
        return drawn_from(derive_seed(self._seed, self._steps, rank), self._device)

    def state(self) -> dict[str, np.ndarray]:
        state = {f"loss.{name}": tensor.cpu().numpy() for name, tensor in self._loss.state_dict().items()}
        for number, optimizer in enumerate(self._optimizers):
            for parameter, values in optimizer.state_dict()["state"].items():
                for name, value in values.items():
                    state[f"optimizer.{number}.{parameter}.{name}"] = value.cpu().numpy()
        for name, number in self._scaler.state_dict().items():
            state[f"scaler.{name}"] = np.array(number)
        return {**state, "steps": np.array(self._steps)}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        import torch

        self._steps = int(state["steps"])
        self._scaler.load_state_dict(
            {n.removeprefix("scaler."): a.item() for n, a in state.items() if n.startswith("scaler.")}
        )
        tensors = {name: torch.from_numpy(array) for name, array in state.items() if "." in name}
        self._loss.load_state_dict({n.removeprefix("loss."): t for n, t in tensors.items() if n.startswith("loss.")})
        for number, optimizer in enumerate(self._optimizers):
            values: dict[int, dict[str, torch.Tensor]] = {}
            for path, tensor in tensors.items():
                kind, _, rest = path.partition(".")
                if kind == "optimizer" and rest.startswith(f"{number}."):
                    _, parameter, name = rest.split(".")
                    values.setdefault(int(parameter), {})[name] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": values})

    def _update(self, batch: Any, rate: float) -> Metrics:
        import torch

        self._module.train()
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("share_of_rate", 1.0)
            optimizer.zero_grad(set_to_none=True)
        losses = self._backward(batch, self._parts)
        for optimizer in self._optimizers:
            self._scaler.unscale_(optimizer)
        if self._gradient_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self._loss.parameters(), self._gradient_norm, foreach=True)
            losses["gradient_norm"] = norm
        for optimizer in self._optimizers:
            self._scaler.step(optimizer)
        self._scaler.update()
        names = sorted(losses)  # another process may have met them in another order
        values = torch.stack([losses[name].detach().float() for name in names])  # one wait for the device
        if self._team:
            torch.distributed.all_reduce(values)
            values /= self._team.size
        said = dict(zip(names, values.tolist(), strict=True))
        return {**{name: said[name] for name in losses}, "learning_rate": rate}

    def _backward(self, batch: Any, parts: int) -> "dict[str, torch.Tensor]":
        """Gradients of the mean loss of the batch, part by part; the metrics are means by weight."""
        import torch

        whole, scale = batch, 1.0
        if self._team:
            batch, scale = batch.share(self._team.rank, self._team.size), float(self._team.size)
            if not batch.weight:  # fewer texts than processes: what the first one does, and it counts nothing
                batch, scale = whole.share(0, self._team.size), 0.0
        pieces = batch.split(parts) if parts > 1 else [batch]
        means: dict[str, torch.Tensor] = {}
        for number, part in enumerate(pieces):
            share = scale * part.weight / max(1, whole.weight) if part is not whole else 1.0
            last = number == len(pieces) - 1
            waiting = contextlib.nullcontext() if last or not self._team else self._module.no_sync()
            with waiting:
                with computing(self._device, self._precision):
                    losses = self._module(part)
                self._scaler.scale(losses["loss"] * share).backward()
            for name, value in losses.items():
                means[name] = means.get(name, 0) + value.detach() * share
        return means

    def _fitting(self, batch: Any) -> dict[str, int]:
        """Fields of the objective that make a step small enough; empty if none is found.

        Ever larger shares of the batch are tried: as a part or chunk, where the objective has them, else as a batch.
        Half of the largest that fits is said, for batches of many sizes leave gaps in memory after a while.
        """
        objective, found = self.encoder.objective, 0
        self._reserve = None
        gc.collect()
        if self._team:  # the others wait for this process in the middle of a step
            return {}
        texts = getattr(batch, "whole", batch.weight)
        for pieces in (64, 32, 16, 8, 4, 2):
            if "parts" in objective:
                parts = batch.split(self._parts * pieces)
            elif "chunk" in objective:
                parts, self._loss.chunk = [batch], max(1, texts // pieces)
            else:
                parts = [batch.share(0, pieces)]
            if not self._fits(parts):
                break
            found = 2 * pieces
        if not found:
            return {}
        if "parts" in objective:
            tokens = min(objective.get("batch_tokens", 0), batch.tokens) // found
            return {"parts": self._parts * found} | ({"batch_tokens": tokens} if tokens else {})
        return {"chunk" if "chunk" in objective else "batch_size": max(1, texts // found)}

    def _fits(self, parts: Sequence[Any]) -> bool:
        """Whether there is memory for the gradients of one part beside those of another, and for the optimisers."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        try:
            new = [p for o in self._optimizers for g in o.param_groups for p in g["params"] if p not in o.state]
            moments = [torch.empty_like(parameter) for parameter in new for _ in range(2)]
            for part in (max(parts, key=lambda part: part.weight), parts[-1]):  # the last has all of a sum of losses
                self._backward(part, 1)
            del moments
        except (MemoryError, RuntimeError) as error:
            if not is_refusal(error):
                raise
            return False
        return True


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
        self._rate_factor = 1.0
        self.matrices = matrices

    @property
    def encoder(self) -> "Encoder":
        self._export()
        return self._encoder

    def finish(self) -> "Encoder":
        """Before the network has its vectors again: at no time does memory hold more than two matrices."""
        del self._update, self.matrices
        return self.encoder

    def slow_down(self, factor: float) -> None:
        self._rate_factor *= factor

    def in_team(self, team: "Team") -> Learner:
        from sslcore.training.distributed import TeamLearner

        return TeamLearner(self, team)

    def state(self) -> dict[str, np.ndarray]:
        return {name: matrix.cpu().numpy() for name, matrix in self.matrices.items()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        import torch

        for name, matrix in self.matrices.items():
            saved = torch.from_numpy(state[name])
            columns = min(matrix.shape[1], saved.shape[1])  # rows are padded as the machine at work likes them
            matrix[:, :columns] = saved[:, :columns].to(matrix.device)

    def update(self, batch: Batch) -> Metrics:
        rate_begin, rate_end = (self._schedule(share) * self._rate_factor for share in (batch.begin, batch.end))
        return {**self._update(batch, rate_begin, rate_end), "learning_rate": rate_begin}
