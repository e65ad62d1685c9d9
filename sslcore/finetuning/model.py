"""The fine-tuned classifier: text in, a label and a probability for each label out. Saved without pickle.

weights.safetensors   the encoder's and the head's tensors, and the features' mean and spread
model.json            labels in the order of the logits, the encoder's objective, how it was trained
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
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.shapes.classification import LabelledTexts, softmax
from sslcore.finetuning.shapes.registry import AnyShape
from sslcore.finetuning.shapes.seam import DownstreamNetwork
from sslcore.finetuning.training import TrainingSummary, outputs_of
from sslcore.models.weights import load_weights, save_weights

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.tokenizer import Tokenizer

DESCRIPTION = "model.json"
WEIGHTS = "weights.safetensors"
FORMAT = 2  # raised when an older sslcore could not read what we write


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


class FineTunedModel:
    """A classifier of texts. Made by `fine_tune` or `FineTunedModel.load`."""

    def __init__(
        self,
        tokenizer: "Tokenizer",
        network: DownstreamNetwork,
        description: ModelDescription,
        curve: Sequence[tuple[int, str, float]] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.network = network.eval()
        self.description = description
        self.curve = list(curve)  # (step, metric, value)

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
    def training(self) -> TrainingSummary:
        return self.description.training

    def __repr__(self) -> str:
        return f"FineTunedModel({len(self.labels)} labels, on an encoder of kind {self.description.objective['kind']})"

    def answers(self, rows: "pa.Table") -> "pa.Table":
        """One row for each of `rows`, which have the columns of the model's shape, in their order."""
        import pyarrow as pa

        shape, most = self.description.shape, self.description.config.maximum_tokens
        examples = shape.examples(rows, self.encoder, self.labels, maximum_tokens=most)
        return pa.table(shape.predictions(outputs_of(self.network, examples), examples, self.labels))

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, labels]: unnormalised log-probabilities."""
        if isinstance(texts, str):
            raise UserError("a list of texts is expected, a single string was given; write predict([text])")
        most = self.description.config.maximum_tokens
        return self.logits_of(EncodedTexts.of(texts, self.tokenizer, self.network.encoder, maximum_tokens=most))

    def logits_of(self, texts: EncodedTexts) -> np.ndarray:
        """float32 [n, labels] of texts that are ids already."""
        if not len(texts):
            return np.empty((0, len(self.labels)), np.float32)
        return outputs_of(self.network, LabelledTexts(texts, np.zeros(len(texts), np.int64)))

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, labels], every row sums to 1."""
        return softmax(self.logits(texts))

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
        return cls(tokenizer, network, description, curve)


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
