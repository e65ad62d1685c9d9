"""Train only the rows of the vocabulary that the texts hold.

A token that occurs in no training text gets no gradient, so the optimiser would carry its row along unchanged at every
step: with 30 labelled texts that is 95 % of the table and of the time. Cutting the vocabulary's tensors down to the
tokens that occur, and putting the rows back afterwards, gives the same weights (the tables have no weight decay).
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sslcore.finetuning.encoded import EncodedTexts


class VocabularyRestriction:
    """The tokens that occur in `texts`, of a vocabulary of `size`; ids are renumbered in their order.

    Special tokens, those below `first_word_id`, stay what they are: networks add them to a text. Those of its `frame`
    may be among the words (GPT-2's is the last of its vocabulary); the network's copy has them in the new numbers.
    """

    def __init__(self, size: int, first_word_id: int, *texts: EncodedTexts, frame: Sequence[int] = ()) -> None:
        self.size = size
        occurs = np.zeros(size, bool)
        occurs[:first_word_id] = True
        occurs[list(frame)] = True
        for each in texts:
            occurs[each.ids] = True
        self.kept = np.flatnonzero(occurs)
        self._places = np.cumsum(occurs) - 1
        self._frame = tuple(int(self._places[token]) for token in frame)

    def texts(self, texts: EncodedTexts) -> EncodedTexts:
        """The same texts in the new numbers."""
        return EncodedTexts(self._places[texts.ids], texts.offsets)

    def network(self, network: nn.Module) -> nn.Module:
        """A copy of the network whose vocabulary tensors keep the rows of the kept tokens."""
        rows = torch.from_numpy(self.kept)
        tables = self.tables(network)
        # A tensor already copied is not copied again: the table is cut straight from the original.
        memory: dict[int, torch.Tensor] = {}
        for name, parameter in network.named_parameters():
            if name in tables:
                kept = parameter.detach()[rows.to(parameter.device)]
                memory[id(parameter)] = nn.Parameter(kept, requires_grad=parameter.requires_grad)
        for name, buffer in network.named_buffers():
            if name in tables:
                memory[id(buffer)] = buffer[rows.to(buffer.device)]
        restricted: Any = copy.deepcopy(network, memory)
        for name, module in restricted.named_modules():
            if f"{name}.weight" in tables and getattr(module, "padding_idx", None) is not None:
                kept_at = np.flatnonzero(self.kept == module.padding_idx)
                module.padding_idx = int(kept_at[0]) if len(kept_at) else None
        if self._frame:
            restricted.frame = self._frame
        return restricted

    def put_back(self, network: nn.Module, original: nn.Module) -> nn.Module:
        """A copy of `original` with the weights of `network`, which `self.network(original)` was."""
        whole = copy.deepcopy(original)
        rows = torch.from_numpy(self.kept)
        tables = self.tables(original)
        learnt = network.state_dict()
        with torch.no_grad():
            for name, tensor in whole.state_dict().items():
                if name in tables:
                    tensor[rows.to(tensor.device)] = learnt[name].to(tensor.device)
                else:
                    tensor.copy_(learnt[name])
        return whole

    def tables(self, network: Any) -> set[str]:
        """Names of the vocabulary tensors: those that the network names, else all whose first axis is of its size."""
        if hasattr(network, "vocabulary_tensors"):
            return set(network.vocabulary_tensors())
        return {name for name, tensor in network.state_dict().items() if tensor.ndim and len(tensor) == self.size}
