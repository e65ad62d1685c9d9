"""Several processes, a device each, started by torchrun: each trains on its share of every batch, then they average.

They exchange what they learned `AVERAGES` times in a run (local updates with periodic averaging, as in McMahan et al.
2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data"), so they seldom wait for each other.
A row is averaged over the processes that moved it: most rows of a large vocabulary are met by one of them alone since
the last exchange, and dividing by all would undo its work.
"""

import atexit
import gc
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sslcore.training.learner import KernelLearner, Metrics

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder

AVERAGES = 100


class Team(NamedTuple):
    """This process among those that train together."""

    rank: int
    size: int
    here: int  # processes on this machine
    device: str

    def wait(self) -> None:
        """Until all are here."""
        from torch import distributed

        distributed.barrier()

    def any(self, asked: bool) -> bool:
        """Whether it is so in one of them: all hear the same after the same call."""
        import torch
        from torch import distributed

        told = torch.tensor(float(asked), device=self.device)
        distributed.all_reduce(told)
        return bool(told)

    def from_first(self, array: np.ndarray) -> np.ndarray:
        """What the first process gives, in all; the others give an array of its shape and type."""
        import torch
        from torch import distributed

        told = torch.from_numpy(np.array(array)).to(self.device)
        distributed.broadcast(told, 0)
        return told.cpu().numpy()


def join(device: str) -> Team | None:
    """Meet the processes that torchrun started, one a GPU if `device` is "cuda"; None if this process is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        return None
    import torch
    from torch import distributed

    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        atexit.register(_leave)
    size = distributed.get_world_size()
    team = Team(distributed.get_rank(), size, int(os.environ.get("LOCAL_WORLD_SIZE", size)), device)
    team.wait()  # the first may still be writing the checkpoint of a run before, which all are to find
    return team


def _leave() -> None:
    """End the group's threads: some that still run when the process ends abort it, now and then."""
    from torch import distributed

    gc.collect()  # a learner that is no longer used, but in a cycle, would keep the group alive
    if distributed.is_initialized():
        distributed.destroy_process_group()


class TeamLearner:
    """A kernel's learner in each process, on batches that know their `share(rank, size)`; the same encoder in all."""

    def __init__(self, learner: KernelLearner, team: Team) -> None:
        self._learner = learner
        self._team = team
        self._before = {name: matrix.clone() for name, matrix in learner.matrices.items()}

    @property
    def encoder(self) -> "Encoder":
        return self._learner.encoder

    def finish(self) -> "Encoder":
        self._before.clear()
        return self._learner.finish()

    def state(self) -> dict[str, np.ndarray]:
        """This process's; what the others learned since the last exchange is not in it."""
        return self._learner.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._learner.restore(state)
        for name, matrix in self._learner.matrices.items():
            self._before[name].copy_(matrix)

    def slow_down(self, factor: float) -> None:
        self._learner.slow_down(factor)

    def in_team(self, team: Team) -> "TeamLearner":
        return self

    def update(self, batch: Any) -> Metrics:
        """One step of every process. The loss is the mean over their shares."""
        import torch
        from torch import distributed

        share = batch.share(self._team.rank, self._team.size)
        metrics = self._learner.update(share)
        told = torch.tensor([metrics["loss"] * share.tokens, share.tokens], dtype=torch.float64)
        told = told.to(self._team.device)
        distributed.all_reduce(told)
        if int(batch.end * AVERAGES) > int(batch.begin * AVERAGES):
            self._average()
        return {**metrics, "loss": float(told[0] / told[1])}

    def _average(self) -> None:
        from torch import distributed

        for name, matrix in self._learner.matrices.items():
            moved = matrix - self._before[name]
            movers = (moved != 0).any(dim=1).float()
            distributed.all_reduce(moved)
            distributed.all_reduce(movers)
            matrix.copy_(self._before[name] + moved / movers.clamp_min(1)[:, None])
            self._before[name].copy_(matrix)
