"""The pyfunc model that MLflow loads for `models:/…`: text in; labels with probabilities, or vectors, out.

MLflow runs this file as it is ("models from code"), so a registered model holds no pickle: the folder of the artefact,
safetensors and JSON, and a copy of sslcore.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

EXAMPLES = ("The room was clean and the staff were kind.", "returns a new array with the given shape")


class TextModel(PythonModel):
    def load_context(self, context: Any) -> None:
        import sslcore

        self.model = sslcore.load(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """One row per text of the column `text`; params {"nearest": 10} asks an encoder of words for neighbours too."""
        return answer(self.model, model_input, **(params or {}))


def answer(model: Any, rows: pd.DataFrame, nearest: int = 0) -> pd.DataFrame:
    """A classifier's label and one probability per label, or an encoder's vector as a list, for each row.

    With `nearest` also so many words whose vectors lie nearest, each with its cosine: [{"word": …, "cosine": …}, …].
    """
    texts = rows["text"].astype(str).tolist()
    if hasattr(model, "probabilities"):
        probabilities = model.probabilities(texts)
        table = pd.DataFrame(probabilities, columns=[f"probability of {label}" for label in model.labels])
        table.insert(0, "label", [model.labels[i] for i in probabilities.argmax(axis=1)])
        return table
    said = {"vector": [vector.tolist() for vector in model.encode(texts)]}
    if nearest:
        found = model.nearest(texts, n=nearest)
        said["nearest"] = [[{"word": word, "cosine": cosine} for word, cosine in of_text] for of_text in found]
    return pd.DataFrame(said)


def example(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Texts to show on the model's page: some the artefact was trained on, if its summary kept any."""
    return pd.DataFrame({"text": list(summary.get("examples", EXAMPLES))[:3]})


set_model(TextModel())
