"""Energy margins: the paper typed again, its gradient, and training with texts from elsewhere."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.energy import EnergyMargins, energy_margin_loss
from sslcore.finetuning.novelty import free_energy
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.models.encoder import Encoder
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words
from tests.unit.conftest import TOPICS, topic_texts

MARGINS = EnergyMargins(inner=-4, outer=-1.5)


def by_hand(inside: np.ndarray, outside: np.ndarray, m_in: float, m_out: float) -> float:
    """Equation 8, term by term."""
    total = 0.0
    for rows, sign, margin in ((inside, 1, m_in), (outside, -1, m_out)):
        side = 0.0
        for logits in rows:
            energy = -np.log(sum(np.exp(z) for z in logits))
            side += max(0.0, sign * (energy - margin)) ** 2
        total += side / len(rows)
    return total


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("classes", [2, 7])
def test_the_loss_is_the_papers(scale: float, classes: int) -> None:
    generator = np.random.default_rng(classes)
    inside, outside = scale * generator.normal(size=(9, classes)), scale * generator.normal(size=(4, classes))
    ours = energy_margin_loss(torch.from_numpy(inside), torch.from_numpy(outside), MARGINS).item()
    assert ours == pytest.approx(by_hand(inside, outside, -4, -1.5))


def test_its_gradient_is_right_and_flat_beyond_the_margins() -> None:
    generator = torch.Generator().manual_seed(0)
    inside, outside = (torch.randn(n, 5, generator=generator, dtype=torch.float64) for n in (6, 3))
    inside.requires_grad_()
    outside.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: energy_margin_loss(a, b, MARGINS), (inside, outside))
    far_inside, far_outside = torch.full((2, 5), 9.0, requires_grad=True), torch.full((2, 5), -9.0, requires_grad=True)
    loss = energy_margin_loss(far_inside, far_outside, MARGINS)
    loss.backward()
    assert loss.item() == 0
    assert not far_inside.grad.any()
    assert not far_outside.grad.any()


def test_a_side_without_rows_adds_nothing() -> None:
    some, none = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.empty(0, 4)
    only = energy_margin_loss(some, none, MARGINS)
    assert only.item() == pytest.approx(((-some.logsumexp(1) + 4).clamp_min(0) ** 2).mean().item())
    assert energy_margin_loss(none, none, MARGINS).item() == 0


def test_margins_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValidationError, match="inner -1 is to be below outer -4"):
        EnergyMargins(inner=-1, outer=-4)


@pytest.fixture(scope="module")
def task() -> tuple[Encoder, LabelledTexts, LabelledTexts, EncodedTexts]:
    """Topics, and texts from elsewhere: of words that no topic has."""
    (texts, labels), (held_out, held_out_labels) = topic_texts(300, seed=0), topic_texts(80, seed=1)
    generator = np.random.default_rng(0)
    elsewhere = [" ".join(f"other{chr(97 + i)}" for i in generator.integers(26, size=16)) for _ in range(100)]
    tokenizer = fit_tokenizer(Words(minimum_count=1), texts + elsewhere)
    objective = SkipGram(dimensions=16)
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    encoder = Encoder(tokenizer, network, objective.model_dump(mode="json"), 0)

    def encoded(part: list[str]) -> EncodedTexts:
        return EncodedTexts.of(part, tokenizer, network, maximum_tokens=64)

    train, validation = (
        LabelledTexts(encoded(part), np.array([TOPICS.index(x) for x in names]))
        for part, names in ((texts, labels), (held_out, held_out_labels))
    )
    return encoder, train, validation, encoded(elsewhere)


QUICK = FineTuning(epochs=2, minimum_steps=60)


def test_energies_are_driven_to_their_margins(task: tuple[Encoder, LabelledTexts, LabelledTexts, EncodedTexts]) -> None:
    encoder, train, validation, elsewhere = task
    seen, unseen = elsewhere.take(np.arange(80)), elsewhere.take(np.arange(80, 100))
    shape = Classification(energy_margins=EnergyMargins(inner=-6, outer=-1), class_weights="balanced")
    nothing = validation.take(np.arange(0))  # the last weights are kept
    plain = fine_tune(Classification(), encoder, train, nothing, QUICK, labels=TOPICS, seed=0)
    apart = fine_tune(shape, encoder, train, nothing, QUICK, labels=TOPICS, seed=0, outliers=seen)
    gaps = [
        free_energy(model.logits_of(unseen)).mean() - free_energy(model.logits_of(validation.encoded)).mean()
        for model in (plain, apart)
    ]
    assert gaps[1] > gaps[0] + 1
    predicted = apart.logits_of(validation.encoded).argmax(axis=1)
    assert np.mean(predicted == validation.classes) > 0.9
    assert torch.isfinite(apart.network.head.weight).all()


def test_minus_the_mean_energy_is_told_of_batches_and_of_validation(
    task: tuple[Encoder, LabelledTexts, LabelledTexts, EncodedTexts],
) -> None:
    encoder, train, validation, _ = task
    model = fine_tune(Classification(), encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    batches = {step: value for step, name, value in model.curve if name == "mean_log_sum_exp"}
    assert batches[1] == pytest.approx(np.log(4), abs=1e-5)  # the head starts at zero
    assert len(batches) == model.training.steps
    logits = model.logits_of(validation.encoded)
    assert model.training.validation["mean_log_sum_exp"] == pytest.approx(-free_energy(logits).mean(), rel=1e-5)


def test_margins_and_texts_from_elsewhere_go_together(
    task: tuple[Encoder, LabelledTexts, LabelledTexts, EncodedTexts],
) -> None:
    encoder, train, validation, elsewhere = task
    shape = Classification(energy_margins=MARGINS)
    with pytest.raises(UserError, match="no texts were given"):
        fine_tune(shape, encoder, train, validation, QUICK, labels=TOPICS, seed=0)
    with pytest.raises(UserError, match="no margins were given"):
        fine_tune(Classification(), encoder, train, validation, QUICK, labels=TOPICS, seed=0, outliers=elsewhere)
    with pytest.raises(ValidationError, match="energy_margins and metric out"):
        Classification(multi_label=True, energy_margins=MARGINS)
