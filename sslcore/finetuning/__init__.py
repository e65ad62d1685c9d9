"""From an encoder and labelled rows to a model of them."""

from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.tuning import fine_tune, write_finetuned_model

__all__ = ["FineTuning", "fine_tune", "write_finetuned_model"]
