"""What a network says of examples where no gradient is wanted."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from sslcore.finetuning.shapes.seam import DownstreamNetwork

AT_ONCE = 1024  # examples


def outputs_of(network: "DownstreamNetwork", examples: Any) -> np.ndarray:
    """The outputs of all examples, in evaluation mode, some at a time."""
    training = network.training
    network.eval()
    with torch.inference_mode():
        parts = [
            network(examples.take(np.arange(start, min(start + AT_ONCE, len(examples))))).cpu()
            for start in range(0, max(1, len(examples)), AT_ONCE)
        ]
    network.train(training)
    return torch.cat(parts).numpy()
