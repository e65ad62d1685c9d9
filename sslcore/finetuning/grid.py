"""The same run at several learning rates, and the one that the validation rows prefer.

Devlin et al. 2019, appendix A.3, choose so among 5e-5, 3e-5 and 2e-5; presets.py holds the rates of each recipe. It
costs as many runs as there are rates, and its validation score is the highest of them: only test rows say how good the
model is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.tuning import chosen_by, fine_tune
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from sslcore.finetuning.model import FineTunedModel
    from sslcore.finetuning.shapes.registry import AnyShape
    from sslcore.models.encoder import Encoder


class Tried(NamedTuple):
    """One rate, and what came of it."""

    learning_rate: float  # the encoder's peak rate
    validation: dict[str, float]  # by metric, of the best validated weights
    steps: int
    seconds: float


class Tuned(NamedTuple):
    model: "FineTunedModel"  # of the best rate, which its description names
    tried: list[Tried]  # in the order of the rates


def tuned(
    shape: "AnyShape",
    encoder: "Encoder",
    train: Any,
    validation: Any,
    config: FineTuning,
    rates: Sequence[float],
    *,
    labels: Sequence[str],
    seed: int,
    device: str = "cpu",
    progress: Progress = silent,
    checkpoints: Path | None = None,
) -> Tuned:
    """Fine-tune at each of these rates of the encoder, with one seed; the first of equally good ones is kept.

    A folder for `checkpoints` holds one for each rate. Raises UserError for no rates, for none but one without
    validation rows, and as `fine_tune` does.
    """
    if not rates:
        raise UserError("there is no learning rate to try; name one or more, or call fine_tune for the default")
    if not len(validation) and len(rates) > 1:
        raise UserError(f"{len(rates)} learning rates cannot be told apart without validation rows; add some")
    best: FineTunedModel | None = None
    tried = []
    for number, rate in enumerate(rates):
        model = fine_tune(
            shape, encoder, train, validation, config.model_copy(update={"learning_rate": rate}),
            labels=labels, seed=seed, device=device,
            progress=part_of(progress, number, len(rates), f"rate {rate:g}"),
            checkpoints=checkpoints / f"{rate:g}" if checkpoints else None,
        )  # fmt: skip
        done = model.training
        tried.append(Tried(rate, done.validation, done.steps, done.seconds))
        if best is None or chosen_by(shape, done.validation) > chosen_by(shape, best.training.validation):
            best = model
    assert best is not None
    return Tuned(best, tried)


def part_of(progress: Progress, number: int, parts: int, name: str) -> Progress:
    """The progress of one of several parts, as that of the whole."""
    return lambda share, said: progress((number + share) / parts, f"{name}: {said}")
