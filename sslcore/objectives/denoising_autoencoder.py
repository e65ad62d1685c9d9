"""A denoising autoencoder over bags of words: delete words of a text, and say from the rest which words it had.

Vincent, Larochelle, Bengio, Manzagol 2008, "Extracting and Composing Robust Features with Denoising Autoencoders"
(section 2.3: the corruption); the loss is the multinomial log-likelihood of bag_objective.py.

Wants: documents of some length, tens of thousands of them. Requires: nothing else.
Costs: little: a layer in and one out, and the vocabulary once a document.
Relation: learns vectors of texts, where skip-gram learns vectors of words; order within a text is not used. Without
deletion it is `autoencoder`.
"""

from typing import Literal

from pydantic import ConfigDict, Field

from sslcore.objectives.bag_objective import BagObjective


class DenoisingAutoencoder(BagObjective):
    """Text vectors by restoring the words of a text from a part of them (denoising autoencoder over bags of words)."""

    model_config = ConfigDict(title="Denoising autoencoder")

    kind: Literal["denoising_autoencoder"] = "denoising_autoencoder"
    deletion: float = Field(
        default=0.5, ge=0, lt=1, description="Share of a text's different words that are hidden from the encoder."
    )
