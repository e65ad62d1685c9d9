"""The fine-tuned classifier: text in, a label and a probability for each label out. Saved without pickle.

weights.safetensors   the encoder's and the head's tensors, and the features' mean and spread
model.json            labels in the order of the logits, the encoder's objective, how it was trained, the temperature of
                      the probabilities, and how novelty is scored, with its threshold
novelty.safetensors   what that score has learnt of the training rows, if it has
tokenizer files       as the encoder had them
curve.parquet         step, metric, value of the training
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from sslcore import contracts
from sslcore.errors import UserError
from sslcore.finetuning.calibration import Temperature
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.losses import ClassLoss
from sslcore.finetuning.novelty import ARRAYS, Detector, Novelty
from sslcore.finetuning.outputs import AT_ONCE, outputs_of
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts, softmax
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.finetuning.shapes.seam import DownstreamNetwork
from sslcore.finetuning.training import TrainingSummary
from sslcore.models.weights import load_weights, read_tensors, save_tensors, save_weights

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.tokenizer import Tokenizer

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
NOVELTY = "novelty.safetensors"
FORMAT = 3  # raised when an older sslcore could not read what we write


class ModelDescription(BaseModel):
    """model.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    shape: AnyShape
    labels: tuple[str, ...]
    objective: dict[str, Any]  # of the encoder: says which network the weights belong to
    config: FineTuning
    seed: int
    training: TrainingSummary
    calibration: Temperature | None = None  # None: it was not asked for, probabilities are as trained
    novelty: Novelty | None = None  # None: it was not asked for, or there were no validation rows


class FineTunedModel:
    """A classifier of texts. Made by `fine_tune` or `FineTunedModel.load`."""

    def __init__(
        self,
        tokenizer: "Tokenizer",
        network: DownstreamNetwork,
        description: ModelDescription,
        curve: Sequence[tuple[int, str, float]] = (),
        detector: Detector | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.network = network.eval()
        self.description = description
        self.curve = list(curve)  # (step, metric, value)
        self.detector = detector

    def with_confidence(self, calibration: Temperature, detector: Detector | None) -> "FineTunedModel":
        """The same model with these; see confidence.py, which fits them."""
        novelty = detector.description if detector else None
        description = self.description.model_copy(update={"calibration": calibration, "novelty": novelty})
        return FineTunedModel(self.tokenizer, self.network, description, self.curve, detector)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the columns of `logits` and `probabilities`."""
        return self.description.labels

    @property
    def encoder(self) -> "Encoder":
        """The encoder as fine-tuning left it: the vectors that the class head sees."""
        from sslcore.models.encoder import Encoder

        return Encoder(self.tokenizer, self.network.encoder, self.description.objective, self.description.seed)

    @property
    def gives_one_class(self) -> bool:
        """Whether its outputs are logits of which a row has one class: such models have confidence and novelty."""
        return isinstance(getattr(self.network, "criterion", None), ClassLoss)

    @property
    def temperature(self) -> float:
        """What logits are divided by before they are probabilities; 1 where nothing was fitted."""
        return self.description.calibration.temperature if self.description.calibration else 1.0

    @property
    def training(self) -> TrainingSummary:
        return self.description.training

    def __repr__(self) -> str:
        return f"FineTunedModel({len(self.labels)} labels, on an encoder of kind {self.description.objective['kind']})"

    def answers(self, rows: "pa.Table") -> "pa.Table":
        """One row for each of `rows`, which have the columns of the model's shape, in their order."""
        import pyarrow as pa

        shape: Any = self.description.shape
        most = self.description.config.most_tokens
        examples = shape.examples(rows, self.encoder, self.labels, maximum_tokens=most)
        return pa.table(self.said_of(examples)[1])

    def said_of(self, examples: Any) -> tuple[np.ndarray, dict[str, list[Any]]]:
        """The outputs of examples, as the network gives them, and what `answers` says: column → a value for each.

        Probabilities are calibrated; `novelty` and `is_novel` follow them in a model that has a detector.
        """
        shape: Any = self.description.shape
        features = None
        if self.detector and self.detector.needs_features:
            features, outputs = features_and_outputs(self.network, examples)
        else:
            outputs = outputs_of(self.network, examples)
        scaled = outputs / np.float32(self.temperature) if self.temperature != 1 else outputs
        columns = shape.predictions(scaled, examples, self.labels)
        if self.detector is None:
            return outputs, columns
        novelty = self.detector.novelty(outputs, features)
        first = {name: columns.pop(name) for name in ("label", "probability")}
        found = {"novelty": novelty.tolist(), "is_novel": self.detector.is_novel(novelty).tolist()}
        return outputs, {**first, **found, **columns}

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, labels]: unnormalised log-probabilities, before the temperature."""
        if isinstance(texts, str):
            raise UserError("a list of texts is expected, a single string was given; write predict([text])")
        shape = self.description.shape
        if not isinstance(shape, Classification) or shape.multi_label:
            raise UserError(
                "logits, probabilities and predict are of models that give a text one class; this one wants "
                f"answers(table with columns {', '.join(shape.columns)})"
            )
        most = self.description.config.most_tokens
        return self.logits_of(EncodedTexts.of(texts, self.tokenizer, self.network.encoder, maximum_tokens=most))

    def logits_of(self, texts: EncodedTexts) -> np.ndarray:
        """float32 [n, labels] of texts that are ids already."""
        if not len(texts):
            return np.empty((0, len(self.labels)), np.float32)
        return outputs_of(self.network, LabelledTexts(texts, np.zeros(len(texts), np.int64)))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, labels], calibrated; every row sums to 1."""
        return softmax(self.logits(texts) / np.float32(self.temperature))

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The likeliest label of each text."""
        return [self.labels[place] for place in self.logits(texts).argmax(axis=1)]

    def save(self, folder: str | Path) -> None:
        """Write the files above into an existing folder."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        save_weights(self.network, folder / WEIGHTS)
        self.tokenizer.save(folder)
        if self.detector and self.detector.arrays:
            arrays = {name: torch.from_numpy(array) for name, array in self.detector.arrays.items()}
            save_tensors(arrays, folder / NOVELTY)
        steps, metrics, values = zip(*self.curve, strict=True) if self.curve else ((), (), ())
        table = pa.table({"step": steps, "metric": metrics, "value": values}, schema=contracts.CURVE)
        pq.write_table(table, folder / "curve.parquet", compression="zstd")
        (folder / DESCRIPTION).write_text(self.description.model_dump_json(indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "FineTunedModel":
        """Read what `save` wrote. Raises UserError naming the file, field, tensor or version that does not fit."""
        import pyarrow.parquet as pq

        from sslcore.models.encoder import Encoder
        from sslcore.objectives.registry import parse_objective
        from sslcore.tokenization.tokenizer import Tokenizer

        folder = Path(folder)
        description = read_description(folder / DESCRIPTION)
        tokenizer = Tokenizer.load(folder)
        objective = description.objective
        untrained = parse_objective(objective).network(tokenizer, torch.Generator().manual_seed(0))
        encoder = Encoder(tokenizer, untrained, objective, description.seed)
        network = description.shape.network(encoder, description.labels)
        load_weights(network, folder / WEIGHTS)
        curve: list[tuple[int, str, float]] = []
        if (folder / "curve.parquet").is_file():
            table = pq.read_table(folder / "curve.parquet")
            curve = list(zip(*(table[name].to_pylist() for name in contracts.CURVE.names), strict=True))
        return cls(tokenizer, network, description, curve, read_detector(description, folder / NOVELTY))


def features_and_outputs(network: DownstreamNetwork, examples: Any) -> tuple[np.ndarray, np.ndarray]:
    """What the head sees of all examples, and what it says, float32 [n, …] each; in evaluation mode, some at a time."""
    features, outputs = [], []
    network.eval()
    with torch.inference_mode():
        for start in range(0, len(examples), AT_ONCE):
            part = examples.take(np.arange(start, min(start + AT_ONCE, len(examples))))
            features.append(network.features(part))
            outputs.append(network.decided(features[-1], part).cpu())
    return torch.cat([part.cpu() for part in features]).numpy(), torch.cat(outputs).numpy()


def read_detector(description: ModelDescription, path: Path) -> Detector | None:
    """The detector of a model's folder, if it has one. Raises UserError when its tensors are not those of its score."""
    if description.novelty is None:
        return None
    expected = ARRAYS[description.novelty.score]
    arrays = {name: tensor.numpy() for name, tensor in read_tensors(path).items()} if expected else {}
    if tuple(sorted(arrays)) != expected:
        raise UserError(
            f"{path} holds {sorted(arrays)}, but the novelty score {description.novelty.score} needs "
            f"{list(expected)}: the files of two models may be mixed up"
        )
    return Detector(description.novelty, arrays)


def read_description(path: Path) -> ModelDescription:
    """The fields of a model.json; UserError when it is missing, damaged or from a newer sslcore."""
    try:
        fields = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no fine-tuned model: {path.name} is missing") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy or train the model again") from error
    version = fields.get("format") if isinstance(fields, dict) else None
    if isinstance(version, int) and version > FORMAT:
        raise UserError(f"{path} has format {version}, this sslcore reads up to {FORMAT}: update sslcore to load it")
    try:
        return ModelDescription.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise UserError(f"{path}: {where}: {first['msg']}; copy or train the model again") from error
