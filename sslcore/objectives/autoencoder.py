"""An autoencoder over bags of words: say from a narrow vector of a text which words it has.

Hinton, Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks": codes of documents from their
word counts, trained through the multinomial likelihood (supporting text, "Finding codes for documents"); here one layer
is enough to need no pretraining of layers. The loss is that of bag_objective.py.

Wants: documents of some length, tens of thousands of them. Requires: nothing else.
Costs: little: a layer in and one out, and the vocabulary once a document.
Relation: `denoising_autoencoder` without deletion, so nothing but its width keeps it from copying; the other
autoencoders each add one thing that does.
"""

from typing import Literal

from pydantic import ConfigDict

from sslcore.objectives.bag_objective import BagObjective


class Autoencoder(BagObjective):
    """Text vectors by restoring the words of a text from a narrow vector (autoencoder over bags of words)."""

    model_config = ConfigDict(title="Autoencoder")

    kind: Literal["autoencoder"] = "autoencoder"
