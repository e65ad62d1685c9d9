"""Fine-tuning as the training loop runs it: batches of examples, their loss, and validation as what it measures.

The loop, checkpoints, divergence and SIGTERM are pretraining's (training/run.py). B examples in a batch.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning import freezing
from sslcore.finetuning.adapters import add_adapters, is_scale, merge_adapters, owner
from sslcore.finetuning.blocks import Block, blocks, table
from sslcore.finetuning.caching import FrozenOutputs, kept_outputs
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.freezing import LayerGroups, Moment
from sslcore.finetuning.learning import freeze, resting
from sslcore.finetuning.restriction import VocabularyRestriction
from sslcore.finetuning.shapes.seam import DownstreamNetwork, Examples, Shape
from sslcore.finetuning.validation import Validation
from sslcore.progress import Progress
from sslcore.randomness import derive_seed, drawn_from
from sslcore.training.checkpoints import Checkpoints
from sslcore.training.epochs import EpochOrder
from sslcore.training.learner import TorchLearner
from sslcore.training.loop import Point
from sslcore.training.precision import exact
from sslcore.training.run import Consumers, OnMetrics, run
from sslcore.training.schedules import warmup_linear

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder

log = logging.getLogger("sslcore.finetuning")


class TrainingSummary(BaseModel):
    """What a run did: its cost and the validation scores of the weights that were kept."""

    model_config = ConfigDict(frozen=True)

    steps: int
    best_step: int
    seconds: float
    validation: dict[str, float]  # by metric; empty without validation rows
    trainable_parameters: int
    total_parameters: int
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()  # how the training rows were counted, where that is not the plain way


@dataclass(frozen=True)
class ExampleBatch:
    """B examples, and where in the run they lie."""

    examples: Any
    step: int
    steps: int
    epoch: int  # passes before this one

    @property
    def begin(self) -> float:
        return self.step / self.steps

    @property
    def end(self) -> float:
        return (self.step + 1) / self.steps

    @property
    def tokens(self) -> int:
        return sum(len(texts.ids) for texts in self.examples.texts)

    @property
    def weight(self) -> int:
        return len(self.examples)

    def share(self, rank: int, size: int) -> "ExampleBatch":
        """Every `size`-th example from `rank` on."""
        return replace(self, examples=self.examples.take(np.arange(rank, len(self.examples), size)))


class ExampleBatches:
    """All examples in a new order in each pass, for so many updates."""

    def __init__(self, examples: Examples, batch_size: int, steps: int, seed: int) -> None:
        self._examples, self._batch_size, self._steps = examples, batch_size, steps
        self._order = EpochOrder(len(examples), seed)
        self._per_epoch = -(-len(examples) // batch_size)

    def __len__(self) -> int:
        return self._steps

    @property
    def last(self) -> Moment:
        """Where the last step is."""
        return Moment((self._steps - 1) // self._per_epoch, (self._steps - 1) / self._steps)

    def __getitem__(self, step: int) -> ExampleBatch:
        epoch, number = divmod(step, self._per_epoch)
        rows = self._order(epoch)[number * self._batch_size : (number + 1) * self._batch_size]
        return ExampleBatch(self._examples.take(rows), step, self._steps, epoch)


Policy = Callable[[Moment], frozenset[str]]


class TaskLoss(nn.Module):
    """The loss of a batch; what dropout draws, and what `policy` freezes, follows from the seed and the step.

    Modules of which nothing learns stay in evaluation mode: their dropout would only be noise.
    """

    def __init__(self, network: DownstreamNetwork, dropout: float, seed: int, policy: Policy) -> None:
        super().__init__()
        self.network = network
        self._dropout, self._seed, self._policy = dropout, seed, policy
        self._frozen: frozenset[str] | None = None
        self._sort_modules()

    def forward(self, batch: ExampleBatch) -> dict[str, torch.Tensor]:
        self._follow(Moment(batch.epoch, batch.begin))
        device = next(self.network.parameters()).device
        # Here, and not around the whole step: cells of an evaluation train side by side and take turns at drawing.
        with drawn_from(derive_seed(self._seed, batch.step), device):
            features = self.network.dropped_out(self.network.features(batch.examples), self._dropout)
            with exact(device):
                outputs = self.network.decided(features.float(), batch.examples)
                loss = self.network.loss(outputs, batch.examples)
                return {"loss": loss, **self.network.monitors(outputs, batch.examples)}

    def train(self, mode: bool = True) -> "TaskLoss":
        for modules, wanted in ((self._learning, mode), (self._resting, False)):
            for module in modules:
                if module.training != wanted:  # at every step, and to set it takes torch a hundred times as long
                    module.training = wanted
        return self

    def _follow(self, moment: Moment) -> None:
        frozen = self._policy(moment)
        if frozen != self._frozen:
            freeze(self.network, frozen)
            self._frozen = frozen
            self._sort_modules()
            self.train(self.training)

    def _sort_modules(self) -> None:
        outermost = resting(self.network.encoder)
        # As tuples: torch would take modules that are attributes for its own.
        still = dict.fromkeys(inner for module in outermost for inner in module.modules())
        self._resting = tuple(still)
        self._learning = tuple(module for module in self.modules() if module not in still)


@dataclass
class Trained:
    """What the learner trains in the place of an encoder: the fields that messages quote, and the network."""

    objective: dict[str, Any]
    network: DownstreamNetwork


def train_network(
    shape: Shape,
    encoder: "Encoder",
    train: Any,
    validation: Any,
    config: FineTuning,
    *,
    labels: Sequence[str],
    seed: int,
    device: str,
    progress: Progress,
    on_metrics: OnMetrics,
    checkpoints: Path | None,
) -> tuple[DownstreamNetwork, TrainingSummary, list[Point]]:
    """A copy of the encoder's network under a head, trained; what the run did, and its curve."""
    frame = getattr(encoder.network, "frame", ())
    restriction = VocabularyRestriction(
        encoder.known_ids, encoder.tokenizer.first_word_id, *train.texts, *validation.texts, frame=frame
    )
    train, validation = (
        part.with_texts(tuple(restriction.texts(texts) for texts in part.texts)) for part in (train, validation)
    )
    kept = Checkpoints(checkpoints)
    groups = encoder.layer_groups()
    freezing.check(config.freezing, groups)
    total = config.steps(len(train))
    batches = ExampleBatches(train, config.batch(len(train)), total, derive_seed(seed, "batches"))
    never_learn = freezing.frozen(config.freezing, groups, batches.last)
    outputs: list[FrozenOutputs | None] = []

    def beginning() -> TorchLearner:
        network = shape.network(encoder, labels)
        network.encoder = restriction.network(network.encoder)
        if config.freezing in freezing.ADAPTED:
            add_adapters(network.encoder, config.freezing, config.lora, derive_seed(seed, "adapters"))
        network.to(device)
        freeze(network, never_learn)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise UserError(
                f"freezing={config.freezing} leaves nothing to learn: {shape.kind} has no head here, and the encoder's "
                f"groups, {freezing.spelt(groups)}, are all frozen. Freeze fewer of them"
            )
        if not outputs:
            outputs.append(kept_outputs(network, groups, never_learn, (train, validation)))
        elif outputs[0]:
            outputs[0].attach(network.encoder)
        network.prepare(train)
        tables = restriction.tables(encoder.network)
        return learner(network, config, groups, shape.kind, seed, tables)

    first = beginning()
    network: DownstreamNetwork = first.encoder.network
    summary = blocks(network, encoder.network, groups)
    log.info("freezing=%s\n%s", config.freezing, table(summary))
    measure = Validation(shape, validation, labels, config) if len(validation) else None
    beginnings = iter([first])
    ended = run(
        lambda: next(beginnings, None) or beginning(),
        batches,
        "fine-tuning",
        Consumers(progress, on_metrics, kept, measure=measure),
    )
    network = ended.learner.finish().network
    last_step, _ = ended.curve[-1]
    best_step = measure.best_step(ended.curve) if measure else last_step
    if config.freezing in freezing.ADAPTED:
        merge_adapters(network.encoder)
    if outputs[0]:
        outputs[0].detach(network.encoder)  # each holds on to the other
    network.encoder = restriction.put_back(network.encoder, encoder.network).to(device)
    scores = {
        name.removeprefix("validation_"): value
        for step, metrics in ended.curve
        if step == best_step
        for name, value in metrics.items()
        if name.startswith("validation_")
    }
    return (
        network.eval(),
        TrainingSummary(
            steps=last_step,
            best_step=best_step,
            seconds=kept.seconds,
            validation=scores,
            trainable_parameters=sum(block.trainable for block in summary),
            total_parameters=sum(block.total for block in summary),
            blocks=summary,
            notes=network.notes(labels),
        ),
        ended.curve,
    )


def learner(
    network: DownstreamNetwork, config: FineTuning, groups: LayerGroups, kind: str, seed: int, tables: set[str]
) -> TorchLearner:
    """AdamW with a rate for each layer group of the encoder and one for the head; only what ever learns is in it.

    Norms, biases, the scales of adapters and `tables`, the vocabulary's, are not decayed: see restriction.py.
    """
    rate = config.rate(network.encoder)
    shares = freezing.rate_shares(groups, config.layer_decay)
    body = [(n, p, shares[owner(n)]) for n, p in network.encoder.named_parameters() if p.requires_grad]
    head = [("", p, config.head_learning_rate / rate) for p in network.head_parameters()]
    sorted_by: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter, share in (*body, *head):
        decays = parameter.ndim > 1 and name not in tables and not is_scale(name)
        sorted_by.setdefault((share, decays), []).append(parameter)
    options: list[dict[str, Any]] = [
        {"params": chosen, "weight_decay": config.weight_decay if decays else 0.0, "share_of_rate": share}
        for (share, decays), chosen in sorted_by.items()
    ]
    # fused: one pass over a table of embeddings in place of ten
    optimizer = torch.optim.AdamW(options, lr=rate, fused=True)
    trained = Trained({"kind": "fine-tuning", "shape": kind, "batch_size": config.batch_size}, network)
    return TorchLearner(
        trained,  # type: ignore[arg-type]
        TaskLoss(
            network,
            config.dropout,
            derive_seed(seed, "draws"),
            lambda moment: freezing.frozen(config.freezing, groups, moment),
        ),
        [optimizer],
        warmup_linear(rate, config.warmup),
        threads=torch.get_num_threads(),
        seed=None,
        precision=config.precision,
        gradient_norm=config.gradient_norm,
    )
