"""From an encoder and labelled texts to a classifier."""

from sslcore.finetuning.classification import FineTuning, LabelledTexts, fine_tune, write_finetuned_model

__all__ = ["FineTuning", "LabelledTexts", "fine_tune", "write_finetuned_model"]
