"""The training loop of fine-tuning: an iterator of updates, and the consumer that validates, keeps the best and stops.

B texts in a batch, D dimensions, C classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sslcore.finetuning.classification import FineTuning, LabelledTexts, OnMetrics
from sslcore.finetuning.freezing import FREEZING
from sslcore.finetuning.network import ClassifierNetwork, dropped, outputs, tensors
from sslcore.finetuning.restriction import VocabularyRestriction
from sslcore.finetuning.scores import cross_entropy, macro_f1, selection_score
from sslcore.progress import Progress
from sslcore.randomness import derive_seed, drawn_from, numpy_generator, torch_generator

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder

VALIDATIONS = 12
"""Validations of a run that is not stopped early."""


class Block(BaseModel):
    """One block of the network and its numbers of parameters."""

    model_config = ConfigDict(frozen=True)

    name: str
    trainable: int
    total: int


class TrainingSummary(BaseModel):
    """What a run did: its cost and the validation scores of the weights that were kept."""

    model_config = ConfigDict(frozen=True)

    steps: int
    best_step: int
    seconds: float
    validation_macro_f1: float | None
    validation_loss: float | None
    trainable_parameters: int
    total_parameters: int
    blocks: tuple[Block, ...]


@dataclass
class TrainingRun:
    """What the consumer of the loop collects."""

    blocks: tuple[Block, ...]
    curve: list[tuple[int, str, float]] = field(default_factory=list)
    steps: int = 0
    best_step: int = 0
    best: tuple[float, float] | None = None  # validation macro-F1 and log-likelihood

    def summary(self, *, seconds: float) -> TrainingSummary:
        return TrainingSummary(
            steps=self.steps,
            best_step=self.best_step,
            seconds=seconds,
            validation_macro_f1=self.best[0] if self.best else None,
            validation_loss=-self.best[1] if self.best else None,
            trainable_parameters=sum(block.trainable for block in self.blocks),
            total_parameters=sum(block.total for block in self.blocks),
            blocks=self.blocks,
        )


def train_network(
    encoder: "Encoder",
    train: LabelledTexts,
    validation: LabelledTexts,
    config: FineTuning,
    *,
    classes: int,
    seed: int,
    device: str,
    progress: Progress,
    on_metrics: OnMetrics | None,
) -> tuple[ClassifierNetwork, TrainingRun]:
    """A copy of the encoder's network under a head, trained; and the record of the run."""
    restriction = VocabularyRestriction(
        encoder.known_ids, encoder.tokenizer.first_word_id, train.texts, validation.texts
    )
    train = LabelledTexts(restriction.texts(train.texts), train.classes)
    validation = LabelledTexts(restriction.texts(validation.texts), validation.classes)
    network = ClassifierNetwork(restriction.network(encoder.network), encoder.dimensions, classes).to(device)
    groups = encoder.layer_groups()
    freeze(network, FREEZING[config.freezing](groups))
    features = outputs(network.encoder, train.texts)
    network.standardise_by(torch.from_numpy(features).to(device))
    run = TrainingRun(blocks=blocks(network, encoder.network, groups))

    total = config.steps(len(train))
    interval = max(1, total // VALIDATIONS)
    kept, stale = None, 0
    for step, metrics in updates(network, train, config, total, seed=seed, device=device):
        run.steps = step
        if step % interval == 0 or step == total:
            if len(validation):
                logits = outputs(network, validation.texts)
                score = selection_score(validation.classes, logits)
                metrics["validation_macro_f1"] = macro_f1(validation.classes, logits.argmax(axis=1))
                metrics["validation_loss"] = cross_entropy(validation.classes, logits)
                better = run.best is None or score > run.best
                stale = 0 if better else stale + 1
                if better:
                    run.best, run.best_step = score, step
                    kept = {name: value.clone() for name, value in network.state_dict().items()}
            progress(step / total, f"update {step:,} of at most {total:,}, loss {metrics['loss']:.3f}")
        run.curve += [(step, name, value) for name, value in metrics.items()]
        if on_metrics:
            on_metrics(step, metrics)
        if stale >= config.patience:
            break
    if kept is not None:
        network.load_state_dict(kept)
    else:
        run.best_step = run.steps
    network.encoder = restriction.put_back(network.encoder, encoder.network).to(device)
    return network.eval(), run


def updates(
    network: ClassifierNetwork, train: LabelledTexts, config: FineTuning, total: int, *, seed: int, device: str
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield `(step, metrics)` after each of `total` updates of `network`, in place. Steps count from 1."""
    order = numpy_generator(seed, "batches")
    noise = torch_generator(seed, "dropout", device=device)
    head = list(network.head.parameters())
    body = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": body, "lr": config.rate(network.encoder), "weight_decay": 0.0},  # see restriction.py
            {"params": head[:1], "lr": config.head_learning_rate, "weight_decay": config.weight_decay},
            {"params": head[1:], "lr": config.head_learning_rate, "weight_decay": 0.0},
        ],
        fused=True,  # one pass over the embedding table instead of ten
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: linear_schedule(done, total, config.warmup))
    fixed = None if body else torch.from_numpy(outputs(network.encoder, train.texts)).to(device)
    classes = torch.from_numpy(train.classes).to(device)
    size = config.batch(len(train))
    network.train()
    step = 0
    while step < total:
        shuffled = order.permutation(len(train))
        for start in range(0, len(train), size):
            rows = shuffled[start : start + size]
            # A frozen encoder gives the same features at every pass: they are computed once.
            batch = train.texts.take(rows)
            with drawn_from(derive_seed(seed, "encoder", step), device):
                features_BD = network.encoder(*tensors(batch, device)) if fixed is None else fixed[rows]
            logits_BC = network.head(dropped(network.standardised(features_BD), config.dropout, noise))
            loss = nn.functional.cross_entropy(logits_BC, classes[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip([*body, *head], config.gradient_norm)
            rate = schedule.get_last_lr()[0]
            optimizer.step()
            schedule.step()
            step += 1
            yield step, {"loss": loss.item(), "learning_rate": float(rate)}
            network.train()
            if step == total:
                return


@torch.no_grad()
def clip(parameters: list[nn.Parameter], maximum: float) -> None:
    """Scale the gradients in place to this norm if theirs is larger; torch's own version rewrites them regardless."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(gradient) for gradient in gradients]))
    if norm > maximum:
        torch._foreach_mul_(gradients, maximum / (norm + 1e-6))


def linear_schedule(done: int, total: int, warmup: float) -> float:
    """Factor of the peak rate after `done` of `total` updates: up over the warm-up, then down to zero."""
    rising = round(warmup * total)
    if done < rising:
        return (done + 1) / (rising + 1)
    return (total - done) / max(1, total - rising)


def freeze(network: ClassifierNetwork, frozen: frozenset[str]) -> None:
    """Mark which encoder parameters learn; names are those of the encoder's network."""
    for name, parameter in network.encoder.named_parameters():
        parameter.requires_grad_(name not in frozen)


def blocks(network: ClassifierNetwork, whole: nn.Module, groups: "list[tuple[str, list[str]]]") -> tuple[Block, ...]:
    """Trainable and total parameters of each layer group of the `whole` encoder, input first, and of the head."""
    sizes = {name: parameter.numel() for name, parameter in whole.named_parameters()}
    learns = {name for name, parameter in network.encoder.named_parameters() if parameter.requires_grad}
    head = sum(parameter.numel() for parameter in network.head.parameters())
    encoder = (
        Block(
            name=group,
            trainable=sum(sizes[name] for name in names if name in learns),
            total=sum(sizes[name] for name in names),
        )
        for group, names in groups
    )
    return (*encoder, Block(name="head", trainable=head, total=head))
