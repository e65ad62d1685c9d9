"""The pyfunc model that MLflow loads for `models:/…`: rows of text in; answers, or vectors, out.

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
        """One row for each given; params {"nearest": 10} asks an encoder of words for neighbours too."""
        return answer(self.model, model_input, **(params or {}))


def answer(model: Any, rows: pd.DataFrame, nearest: int = 0) -> pd.DataFrame:
    """A fine-tuned model's answers, or an encoder's vector as a list, for each row.

    With `nearest` also so many words whose vectors lie nearest, each with its cosine: [{"word": …, "cosine": …}, …].
    """
    if hasattr(model, "answers"):
        import pyarrow as pa

        columns = list(model.description.shape.columns)
        return model.answers(pa.Table.from_pandas(rows[columns], preserve_index=False)).to_pandas()
    texts = rows["text"].astype(str).tolist()
    said = {"vector": [vector.tolist() for vector in model.encode(texts)]}
    if nearest:
        found = model.nearest(texts, n=nearest)
        said["nearest"] = [[{"word": word, "cosine": cosine} for word, cosine in of_text] for of_text in found]
    return pd.DataFrame(said)


def example(summary: Mapping[str, Any]) -> pd.DataFrame:
    """Rows to show on the model's page: some of a fine-tuned model's own, texts for an encoder."""
    return pd.DataFrame(summary.get("examples", [{"text": text} for text in EXAMPLES]))


set_model(TextModel())
