"""A few weights that learn beside an encoder's own while it is fine-tuned, by `peft`, and go into these at the end.

All of the encoder is frozen, W among it, so the model that is saved, exported and served is one as any other.

| | what a projection gives of x | beside |
|---|---|---|
| lora | W x + (alpha / rank) · B A x: Hu et al. 2022, equation 3 | every projection of attention |
| dora | m ⊙ V x, V = W + (alpha / rank) · B A with rows of length 1: Liu et al. 2024 (DoRA), equation 5 | the same |
| ia3 | l ⊙ W x of keys and values, W (l ⊙ x) of what follows the feed-forward's activation: Liu et al. 2022, section 3.3 | these |

A [rank, D] is random, B [D, rank] zero at first, m the lengths of the rows of W, l ones.
"""  # noqa: E501

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.freezing import LoRA
from sslcore.randomness import drawn_from

if TYPE_CHECKING:
    from peft import PeftConfig

BASE = ".base_layer"  # in the names of what a projection had before
ADAPTER = re.compile(r"\.(lora|ia3)_")  # in the names of A, B, m and of l
SCALE = ".ia3_"


def low_rank(encoder: Any, config: LoRA, transposed: bool, *, lengths_apart: bool = False) -> "PeftConfig":
    from peft import LoraConfig

    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=encoder.attention_projections(),
        fan_in_fan_out=transposed,
        use_dora=lengths_apart,
    )


def scales(encoder: Any, config: LoRA, transposed: bool) -> "PeftConfig":
    from peft import IA3Config

    after = encoder.feed_forward_outputs()
    return IA3Config(
        target_modules=[*encoder.keys_and_values(), *after], feedforward_modules=after, fan_in_fan_out=transposed
    )


ADAPTERS: Mapping[str, Callable[[Any, LoRA, bool], "PeftConfig"]] = {
    "lora": low_rank,
    "dora": partial(low_rank, lengths_apart=True),
    "ia3": scales,
}
"""Policy of freezing.ADAPTED → what peft is told."""


def add_adapters(encoder: Any, freezing: str, config: LoRA, seed: int) -> None:
    """Put adapters beside what the policy says, in place; what is random follows from the seed.

    Raises UserError for an encoder without attention, and where `peft` is not installed.
    """
    if not hasattr(encoder, "attention_projections"):
        raise UserError(
            f"freezing={freezing} puts its weights beside the projections of attention, and this encoder has no "
            "attention: choose another freezing, or a transformer as the encoder"
        )
    try:
        from peft import inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"freezing={freezing} needs the package peft: pip install peft") from error
    from transformers.pytorch_utils import Conv1D

    transposed = isinstance(encoder.get_submodule(encoder.attention_projections()[0]), Conv1D)  # GPT-2's linear layers
    with drawn_from(seed):
        inject_adapter_in_model(ADAPTERS[freezing](encoder, config, transposed), encoder)


def merge_adapters(encoder: nn.Module) -> None:
    """Put what the adapters have learnt into the projections they stand beside, and take them away, in place."""
    adapted = [name for name, module in encoder.named_modules() if hasattr(module, "get_base_layer")]
    for name in adapted:
        module: Any = encoder.get_submodule(name)
        module.merge(safe_merge=True)
        parent, _, own = name.rpartition(".")
        setattr(encoder.get_submodule(parent), own, module.get_base_layer())


def owner(name: str) -> str:
    """The parameter of the encoder without adapters that one of it with adapters is, or stands beside."""
    before = name.replace(BASE, "")
    adapter = ADAPTER.search(before)
    return f"{before[: adapter.start()]}.weight" if adapter else before


def is_adapter(name: str) -> bool:
    return ADAPTER.search(name) is not None


def is_scale(name: str) -> bool:
    """Whether decay would pull it away from one, where it changes nothing."""
    return SCALE in name
