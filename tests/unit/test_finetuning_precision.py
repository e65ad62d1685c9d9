"""Half precision is the encoder's in training, and nobody else's: not the head's, the losses', the served model's."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.outputs import outputs_of
from sslcore.finetuning.shapes.classification import Classification
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.finetuning.shapes.spans import SpanExtraction
from sslcore.finetuning.shapes.tagging import Tagging
from sslcore.models.encoder import Encoder
from sslcore.training.precision import Precision
from tests.checkpoints import SENTENCES, made_checkpoint

HALF: list[Precision] = ["bfloat16", "float16"]
SHIP = ["ship" if "ship" in text else "other" for text in SENTENCES]
CLASSES = pa.table({"text": SENTENCES, "label": SHIP})
WORDS = [sentence.rstrip(".").split() for sentence in SENTENCES]
TAGS = pa.table({"tokens": WORDS, "tags": [["B" if w in ("ship", "river") else "O" for w in row] for row in WORDS]})
PAIRS = pa.table(
    {"text": SENTENCES, "text_b": SENTENCES[::-1], "label": SHIP, "score": [5.0 * (s == "ship") for s in SHIP]}
)
ASKED = pa.table(
    {
        "question": ["What is it like?"] * len(SENTENCES),
        "passage": SENTENCES,
        "answers": [[{"text": (word := text.split()[1]), "start": text.index(word)}] for text in SENTENCES],
    }
)
SHAPES: dict[str, tuple[AnyShape, pa.Table]] = {
    "class": (Classification(), CLASSES),
    "focal": (Classification(focal_gamma=2), CLASSES),
    "tags": (Tagging(), TAGS),
    "crf": (Tagging(crf=True), TAGS),
    "pair": (Pairs(), PAIRS),
    "score": (Pairs(says="score"), PAIRS),
    "two texts": (Pairs(architecture="bi_encoder"), PAIRS),
    "cosine": (Pairs(says="score", architecture="bi_encoder"), PAIRS),
    "span": (SpanExtraction(), ASKED),
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return Encoder.from_huggingface(made_checkpoint("bert", tmp_path_factory.mktemp("bert")))


def tuned(encoder: Encoder, shape: AnyShape, rows: pa.Table, precision: Precision, **more: Any) -> FineTunedModel:
    labels = shape.labels_of(rows)
    examples = shape.examples(rows, encoder, labels, maximum_tokens=64)
    config = FineTuning(
        **{"minimum_steps": 12, "batch_size": 16, "learning_rate": 1e-3, "patience": 99, "epochs": 1, **more},
        precision=precision,
    )
    return fine_tune(shape, encoder, examples, examples, config, labels=labels, seed=0)


def losses(model: FineTunedModel, name: str = "loss") -> np.ndarray:
    return np.array([value for _, metric, value in model.curve if metric == name])


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("precision", HALF)
def test_every_shape_learns_the_same_but_for_rounding(encoder: Encoder, name: str, precision: Precision) -> None:
    slow = {"learning_rate": 1e-4, "head_learning_rate": 1e-3}  # else a little rounding comes to much
    exact, half = (tuned(encoder, *SHAPES[name], p, **slow) for p in ("float32", precision))
    for of in ("loss", "validation_loss"):
        off = np.abs(losses(half, of) - losses(exact, of)).max()
        assert 0 < off < 0.02 * losses(exact, of).max()
    assert {tensor.dtype for tensor in half.network.state_dict().values() if tensor.is_floating_point()} == {
        torch.float32
    }


def test_the_head_and_the_loss_are_exact(encoder: Encoder) -> None:
    """With the encoder frozen its outputs are kept from before the run, and what is left is the head."""
    exact, half = (tuned(encoder, Classification(), CLASSES, p, freezing="encoder") for p in ("float32", "bfloat16"))
    assert half.curve == exact.curve
    for name, tensor in exact.network.state_dict().items():
        assert torch.equal(half.network.state_dict()[name], tensor), name


def test_the_encoder_computes_in_it_and_answers_without(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool, torch.dtype]] = []
    whole = torch.nn.functional.linear

    def watched(inputs: torch.Tensor, *rest: Any) -> torch.Tensor:
        said = whole(inputs, *rest)
        seen.append((torch.is_grad_enabled(), said.shape[-1] == 2, said.dtype))
        return said

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    model = tuned(encoder, Classification(), CLASSES, "bfloat16")
    of_head = {(learns, dtype) for learns, head, dtype in seen if head}
    assert of_head == {(True, torch.float32), (False, torch.float32)}
    of_encoder = [(learns, dtype) for learns, head, dtype in seen if not head]
    assert {dtype for learns, dtype in of_encoder if learns} == {torch.bfloat16}
    # The scale of the features is measured in float32, the validation rows in what the steps compute in.
    assert {dtype for learns, dtype in of_encoder if not learns} == {torch.float32, torch.bfloat16}
    before = len(seen)
    examples = Classification().examples(CLASSES, encoder, model.labels, maximum_tokens=64)
    outputs_of(model.network, examples)
    assert {dtype for _, _, dtype in seen[before:]} == {torch.float32}
