"""Train, validation or test: decided by the document's own text and nothing else.

The document id is a hash of the clean text; its first 64 bits, as a fraction of 2⁶⁴, fall into the interval of a split.
So the split of a document does not change with the order of the files, the number of workers or the documents around
it, and since repetitions are dropped before, no document has a near-copy on another side.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class Splits(BaseModel):
    """The share of each split; together 1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: float = Field(0.8, gt=0, le=1, description="Share of the documents to learn from.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share to choose by: early stopping, settings.")
    test: float = Field(0.1, ge=0, lt=1, description="Share to report: opened by the evaluation only.")

    @model_validator(mode="after")
    def _shares_make_one(self) -> "Splits":
        if abs(self.train + self.validation + self.test - 1) > 1e-6:
            total = self.train + self.validation + self.test
            raise ValueError(f"train, validation and test make {total:g}; they must make 1, for instance 0.8, 0.1, 0.1")
        return self

    def of(self, id_heads: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The index in SPLITS of each document, from the first 64 bits of its id."""
        fractions = (id_heads >> np.uint64(11)) / 2.0**53  # 53 bits: below 1 after rounding too
        return np.searchsorted([self.train, 1 - self.test], fractions, side="right")
