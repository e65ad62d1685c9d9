"""Who competes: the baseline without pretraining, and three ways to use each encoder.

A contender is asked for the test logits of one cell: these training rows, these validation rows, this seed. Everything
that does not depend on the cell (token ids, features, TF-IDF vectors) is computed once, before.
"""

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from sslcore.evaluation.config import Evaluation, Method
from sslcore.evaluation.logistic import DENSE_STRENGTHS, SPARSE_STRENGTHS, regress
from sslcore.evaluation.material import Material
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.finetuning.tuning import fine_tune
from sslcore.randomness import derive_seed, torch_generator

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from sslcore.models.encoder import Encoder

METHODS: dict[Method, str] = {
    "tfidf": "TF-IDF + logistic regression",
    "probe": "frozen + linear probe",
    "fine_tuned": "fine-tuned",
    "from_scratch": "from scratch",
}
"""Method → how people read it."""


class Outcome(NamedTuple):
    """What one cell gave and what it cost."""

    logits: np.ndarray  # float32 [test rows, classes]
    validation_macro_f1: float | None
    seconds: float
    steps: int  # updates, or iterations of the solver over all settings that were tried
    setting: str  # what the validation rows chose


class Contender(Protocol):
    """One line of the table."""

    name: str  # for people
    method: Method
    encoder: str  # name of the encoder; "" for the baseline
    random: bool  # whether two seeds with the same rows can differ

    def run(self, train: np.ndarray, validation: np.ndarray, seed: int) -> Outcome:
        """Learn from these rows of the material, choose on those, and score the test rows."""


class Regressed:
    """Logistic regression on features that do not learn: TF-IDF vectors, or a frozen encoder's."""

    random = False

    def __init__(
        self, name: str, method: Method, encoder: str, features: "np.ndarray | csr_matrix", material: Material
    ) -> None:
        self.name, self.method, self.encoder = name, method, encoder
        self._features, self._material = features, material
        self._strengths = SPARSE_STRENGTHS if method == "tfidf" else DENSE_STRENGTHS

    def run(self, train: np.ndarray, validation: np.ndarray, seed: int) -> Outcome:
        started = time.perf_counter()
        material = self._material
        fit = regress(
            self._features[train],
            material.classes[train],
            self._features[validation],
            material.classes[validation],
            self._features[material.test],
            number_of_classes=len(material.labels),
            strengths=self._strengths,
            seed=seed,
        )
        seconds = time.perf_counter() - started
        return Outcome(fit.logits, fit.validation_score, seconds, fit.iterations, f"C = {fit.strength:g}")


class Trained:
    """The encoder's network under a class head, trained from the pretrained weights or from new ones."""

    random = True

    def __init__(
        self,
        name: str,
        method: Method,
        encoder_name: str,
        encoder: "Encoder",
        texts: EncodedTexts,
        material: Material,
        config: FineTuning,
        device: str,
    ) -> None:
        self.name, self.method, self.encoder = name, method, encoder_name
        self._encoder, self._texts, self._material = encoder, texts, material
        self._config, self._device = config, device

    def run(self, train: np.ndarray, validation: np.ndarray, seed: int) -> Outcome:
        encoder, config = self._encoder, self._config
        if self.method == "from_scratch":
            rate = config.rate(encoder.network, pretrained=False)
            encoder = encoder.fresh(torch_generator(seed, "weights"))
            config = config.model_copy(update={"learning_rate": rate})
        model = fine_tune(
            Classification(),
            encoder,
            self._labelled(train),
            self._labelled(validation),
            config,
            labels=self._material.labels,
            seed=seed,
            device=self._device,
        )
        done = model.training
        logits = model.logits_of(self._texts.take(self._material.test))
        return Outcome(logits, done.validation.get("macro_f1"), done.seconds, done.steps, f"step {done.best_step}")

    def _labelled(self, rows: np.ndarray) -> LabelledTexts:
        return LabelledTexts(self._texts.take(rows), self._material.classes[rows])


def contenders(
    config: Evaluation, material: Material, encoders: "dict[str, Encoder]", *, device: str
) -> list[Contender]:
    """Every contender that the configuration asks for, their features computed."""
    found: list[Contender] = []
    if "tfidf" in config.contenders:
        found.append(Regressed(METHODS["tfidf"], "tfidf", "", material.tfidf(), material))
    for name, encoder in encoders.items():
        texts = material.encoded(encoder, config.finetuning.most_tokens)
        for method in config.contenders:
            title = f"{name}, {METHODS[method]}"
            if method == "probe":
                features = material.features(encoder, texts)
                found.append(Regressed(title, method, name, features, material))
            elif method in ("fine_tuned", "from_scratch"):
                found.append(Trained(title, method, name, encoder, texts, material, config.finetuning, device))
    return found


def cell_seed(seed: int, contender: Contender, budget: int, draw: int) -> int:
    """The seed of a cell, from its name: cells may run in any order, alone or side by side."""
    return derive_seed(seed, "cell", contender.name, budget, draw)
