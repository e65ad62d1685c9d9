"""Published recipes by name, and lengths chosen from the rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from sslcore.errors import UserError
from sslcore.finetuning import FineTuning, fine_tune, presets, write_finetuned_model
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.presets import PRESETS, preset
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.finetuning.shapes.pairs import Pairs
from sslcore.finetuning.tuning import with_maximum_tokens
from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from tests.topics import CLASS, TOPICS, labelled, untrained
from tests.unit.conftest import topic_texts

QUICK = FineTuning(epochs=1, minimum_steps=25, patience=12)


class Tables:
    """Rows that are held in memory."""

    def __init__(self, **tables: pa.Table) -> None:
        self._tables = tables
        self.left_out: dict[str, int] = {}

    def table(self, split: str) -> pa.Table:
        return self._tables[split]


def topic_table(rows: int, seed: int) -> pa.Table:
    texts, topics = topic_texts(rows, seed=seed)
    return pa.table({"text": texts, "label": topics})


@pytest.fixture(scope="module")
def task() -> tuple[Encoder, LabelledTexts, LabelledTexts]:
    texts, labels = topic_texts(200, seed=0)
    held_out, held_out_labels = topic_texts(60, seed=1)
    encoder = untrained(texts)
    return encoder, labelled(encoder, texts, labels), labelled(encoder, held_out, held_out_labels)


Task = tuple[Encoder, LabelledTexts, LabelledTexts]


def test_the_recipes_are_the_published_ones() -> None:
    bert, rates, source = PRESETS["bert"]
    assert (bert.warmup, bert.weight_decay, bert.dropout, bert.gradient_norm) == (0.1, 0.01, 0.1, 1.0)
    assert 2 <= bert.epochs <= 4
    assert set(rates) == {2e-5, 3e-5, 5e-5}
    assert "A.3" in source
    # 3,668 rows as MRPC has: 115 batches of 32 in each of the three epochs, and none is left out for want of patience
    assert (bert.batch(3668), bert.steps(3668)) == (32, 345)
    assert bert.patience >= 12
    assert set(PRESETS["bert_small"].rates) == {3e-4, 1e-4, 5e-5, 3e-5}
    assert PRESETS["bert_small"].config.epochs == 4
    assert (PRESETS["roberta"].config.warmup, PRESETS["roberta"].config.epochs) == (0.06, 10)
    assert preset("linear_probe").freezing == "encoder"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_documented_and_its_rate_is_among_those_it_tries(name: str) -> None:
    config, rates, source = PRESETS[name]
    row = next(line for line in (presets.__doc__ or "").splitlines() if line.startswith(f"| {name} |"))
    author = source.split()[0].rstrip(",")
    assert author in row
    for rate in rates:
        mantissa, exponent = f"{rate:.0e}".split("e")
        assert f"{mantissa}e{int(exponent)}" in row
    assert not rates or config.learning_rate in rates
    assert config.maximum_tokens is None
    assert preset(name) == config


def test_an_unknown_preset_is_answered_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"no preset 'brt'; there are bert, bert_small"):
        preset("brt")


def test_reading_presets_needs_no_torch() -> None:
    said = "import sys; from sslcore.finetuning.presets import preset; preset('bert'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_length_is_that_of_99_of_100_rows(task: Task) -> None:
    encoder, _, _ = task
    rows = pa.table({"text": [" ".join(["commona"] * n) for n in range(1, 201)], "label": ["x", "y"] * 100})
    chosen = with_maximum_tokens(preset("bert"), Classification(), encoder, rows, ("x", "y"))
    assert chosen.maximum_tokens == 199  # two rows of 200 are longer than 198.01
    assert chosen == preset("bert").model_copy(update={"maximum_tokens": 199})
    kept = FineTuning(maximum_tokens=7)
    assert with_maximum_tokens(kept, Classification(), encoder, rows, ("x", "y")) is kept
    both = pa.table({"text": ["commona " * 10] * 100, "text_b": ["commonb " * 20] * 100, "label": ["x", "y"] * 50})
    shape = Pairs(architecture="bi_encoder")
    assert with_maximum_tokens(preset("bert"), shape, encoder, both, ("x", "y")).maximum_tokens == 30


def test_the_length_is_at_most_what_the_encoder_takes() -> None:
    encoder = untrained(topic_texts(40, seed=0)[0], MaskedLM(size="tiny", maximum_tokens=16, batch_tokens=64))
    rows = pa.table({"text": [" ".join(["commona"] * 50)] * 4, "label": ["x", "y"] * 2})
    assert with_maximum_tokens(preset("bert"), Classification(), encoder, rows, ("x", "y")).maximum_tokens == 16


def test_the_number_that_was_chosen_is_what_is_served(tmp_path: Path) -> None:
    train, validation = topic_table(120, seed=0), topic_table(40, seed=1)
    encoder = untrained(train["text"].to_pylist())
    config = preset("linear_probe").model_copy(update={"epochs": 1, "minimum_steps": 5})
    write_finetuned_model(CLASS, config, encoder, Tables(train=train, validation=validation), tmp_path, seed=0)
    model = FineTunedModel.load(tmp_path)
    assert model.description.config.maximum_tokens == 16  # every text has as many words
    text = train["text"][0].as_py()
    long = pa.table({"text": [text, text + " commonb" * 9, "commonb " * 9 + text]})
    first, same, other = model.logits(long["text"].to_pylist())
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_without_a_number_served_texts_end_where_the_longest_row_did(task: Task) -> None:
    encoder, train, validation = task
    config = QUICK.model_copy(update={"maximum_tokens": None})
    model = fine_tune(CLASS, encoder, train, validation, config, labels=TOPICS, seed=0)
    assert model.description.config.maximum_tokens == 16
