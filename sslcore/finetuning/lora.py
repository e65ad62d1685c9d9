"""Low-rank adaptation (Hu et al. 2022) by `peft`: narrow matrices beside an encoder's attention while it is fine-tuned.

h = W x + (alpha / rank) · B A x (equation 3), W frozen, A [rank, D] random, B [D, rank] zero at first. At the end B A
is added to W, so the model that is saved, exported and served is one as any other.
"""

from typing import Any

from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.freezing import LoRA
from sslcore.randomness import drawn_from

BASE = ".base_layer"  # in the names of what a projection had before
ADAPTER = ".lora_"  # in the names of A and B


def add_adapters(encoder: Any, config: LoRA, seed: int) -> None:
    """Put adapters beside every projection of attention, in place; A follows from the seed.

    Raises UserError for an encoder without attention, and where `peft` is not installed.
    """
    if not hasattr(encoder, "attention_projections"):
        raise UserError(
            "freezing=lora puts its matrices beside the projections of attention, and this encoder has no attention: "
            "choose another freezing, or a transformer as the encoder"
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError("freezing=lora needs the package peft: pip install peft") from error
    from transformers.pytorch_utils import Conv1D

    targets = encoder.attention_projections()
    transposed = isinstance(encoder.get_submodule(targets[0]), Conv1D)  # GPT-2's linear layers
    said = LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=targets, fan_in_fan_out=transposed)
    with drawn_from(seed):
        inject_adapter_in_model(said, encoder)


def merge_adapters(encoder: nn.Module) -> None:
    """Add what the adapters have learnt to the projections they stand beside, and take them away, in place."""
    adapted = [name for name, module in encoder.named_modules() if hasattr(module, "get_base_layer")]
    for name in adapted:
        module: Any = encoder.get_submodule(name)
        module.merge(safe_merge=True)
        parent, _, own = name.rpartition(".")
        setattr(encoder.get_submodule(parent), own, module.get_base_layer())


def owner(name: str) -> str:
    """The parameter of the encoder without adapters that one of it with adapters is, or stands beside."""
    before, adapter, _ = name.replace(BASE, "").partition(ADAPTER)
    return f"{before}.weight" if adapter else before


def is_adapter(name: str) -> bool:
    return ADAPTER in name
