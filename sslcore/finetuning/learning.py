"""Which parameters of a network learn, and which of its modules rest."""

from typing import TYPE_CHECKING, Any

from torch import nn

from sslcore.finetuning.adapters import is_adapter, owner

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.seam import DownstreamNetwork


def freeze(network: "DownstreamNetwork", frozen: frozenset[str]) -> None:
    """Mark which encoder parameters learn; names are those of the encoder's network. Adapters always do."""
    for name, parameter in network.encoder.named_parameters():
        parameter.requires_grad_(is_adapter(name) or owner(name) not in frozen)


def resting(encoder: Any) -> list[nn.Module]:
    """The modules that have parameters of which none learns, the outermost; and what belongs to such embeddings."""

    def within(module: nn.Module) -> list[nn.Module]:
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            return [module]
        return [found for child in module.children() for found in within(child)]

    inputs: list[nn.Module] = getattr(encoder, "input_modules", [])  # a dropout after them may be in none of them
    learns = any(parameter.requires_grad for module in inputs for parameter in module.parameters())
    return within(encoder) + ([] if learns else inputs)
