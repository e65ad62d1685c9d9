"""Published recipes of fine-tuning, by name.

| | of | rates | source |
|---|---|---|---|
| bert | BERT and others 768 wide or more | 5e-5, 3e-5, 2e-5 | Devlin et al. 2019, appendix A.3 |
| bert_small | BERT's small ones, 128 to 512 wide | 3e-4, 1e-4, 5e-5, 3e-5 | Turc et al. 2019, as the models were released |
| roberta | RoBERTa | 1e-5, 2e-5, 3e-5 | Liu et al. 2019, table 10 |
| few_rows | BERT on some thousand rows or fewer | 2e-5 | Mosbach et al. 2021, section 6 |
| linear_probe | any encoder, frozen | 1e-2 of the head | the frozen features of SetFit's second phase, Tunstall et al. 2022 |

Where a recipe searches over batch sizes and numbers of epochs too, the larger of the usual ones is here: 32 rows, and 3
epochs of 2 to 4; validation chooses among the weights of a run, which stands for the choice of epochs. All decay in a line to 0.
Two things are not as published: heads start at zero on standardised features, so they have a rate of their own where
the papers' heads, of random weights, share the encoder's; and the weight decay leaves out the embeddings.
"""  # noqa: E501

from collections.abc import Mapping
from typing import Any, NamedTuple

from sslcore.errors import UserError
from sslcore.finetuning.config import FineTuning

NEVER = 1000  # validations without a better one: a recipe goes to its end

PUBLISHED: dict[str, Any] = {
    "minimum_steps": 1,
    "batch_size": 32,
    "warmup": 0.1,
    "weight_decay": 0.01,
    "dropout": 0.1,
    "gradient_norm": 1.0,
    "patience": NEVER,
    "maximum_tokens": None,
}


class Preset(NamedTuple):
    """A recipe, the rates of the encoder that it chooses among by validation, and where it is from."""

    config: FineTuning
    rates: tuple[float, ...]
    source: str


PRESETS: Mapping[str, Preset] = {
    "bert": Preset(
        FineTuning(epochs=3, learning_rate=3e-5, **PUBLISHED),
        (5e-5, 3e-5, 2e-5),
        "Devlin, Chang, Lee, Toutanova 2019, BERT, appendix A.3 (warm-up over a tenth, weight decay 0.01: A.2 and the "
        "released code)",
    ),
    "bert_small": Preset(
        FineTuning(epochs=4, learning_rate=1e-4, **PUBLISHED),
        (3e-4, 1e-4, 5e-5, 3e-5),
        "Turc, Chang, Lee, Toutanova 2019, Well-Read Students Learn Better; rates and epochs as released with the "
        "models (google-research/bert)",
    ),
    "roberta": Preset(
        FineTuning(epochs=10, learning_rate=2e-5, **{**PUBLISHED, "warmup": 0.06, "weight_decay": 0.1}),
        (1e-5, 2e-5, 3e-5),
        "Liu et al. 2019, RoBERTa, table 10",
    ),
    "few_rows": Preset(
        FineTuning(epochs=20, learning_rate=2e-5, **{**PUBLISHED, "batch_size": 16}),
        (2e-5,),
        "Mosbach, Andriushchenko, Klakow 2021, On the Stability of Fine-tuning BERT, section 6",
    ),
    "linear_probe": Preset(
        FineTuning(
            freezing="encoder", epochs=30, **{**PUBLISHED, "batch_size": 512, "minimum_steps": 300, "dropout": 0.0}
        ),
        (),
        "Tunstall et al. 2022, SetFit, section 3.1: a linear head on vectors that stay; here by gradient descent",
    ),
}


def preset(name: str) -> FineTuning:
    """The recipe of this name. Raises UserError naming those there are."""
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name].config
