"""A variational autoencoder over bags of words: a text is a cloud of vectors, each of which restores its words.

    loss = −E_q(z|x) Σ_w b_w log softmax(decoder(z))_w + β Σ_j max(λ, mean over texts of KL(q(z_j|x) ‖ N(0, 1)))

Kingma, Welling 2014, "Auto-Encoding Variational Bayes", equations 3 and 10 (one z a text, reparameterised; the KL of
diagonal Gaussians is appendix B's); the multinomial likelihood and β ≤ 1, which rises in a line over the first part of
the run, are Liang, Krishnan, Hoffman, Jebara 2018, "Variational Autoencoders for Collaborative Filtering", sections
2.1 and 2.2. λ, free bits: Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling 2016, "Improved Variational
Inference with Inverse Autoregressive Flow", appendix. b is the damped bag of bag_objective.py. What is descended is
this over the mean Σ_w b_w of the batch, in nats a word; `reconstruction` and `kl` are in nats a text. The text vector
is the mean of q. A text without a known word has q = N(0, 1).

Posterior collapse is told: `active_units` is the share of entries whose mean varies over the batch by more than 0.01
(Burda, Grosse, Salakhutdinov 2016, "Importance Weighted Autoencoders").

Wants: documents of some length, tens of thousands of them. Requires: nothing else.
Costs: as `stacked_autoencoder`'s last phase.
Relation: `denoising_autoencoder` with noise on the vector too, in an amount that it learns; on R52 its probe is below
that one's. Of several processes each
draws its own noise and takes free bits of its own texts.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import ConfigDict, Field

from sslcore.models.word_weights import sif_weights, word_counts
from sslcore.objectives.bag_objective import BagObjective

if TYPE_CHECKING:
    import torch

    from sslcore.models.bag_autoencoder import DeepBagEncoder
    from sslcore.models.encoder import Encoder
    from sslcore.tokenization.tokenizer import Tokenizer


class VariationalAutoencoder(BagObjective):
    """Text vectors as means of distributions that restore the words (variational autoencoder over bags of words)."""

    model_config = ConfigDict(title="Variational autoencoder")

    kind: Literal["variational_autoencoder"] = "variational_autoencoder"
    hidden_dimensions: int = Field(default=512, ge=1, le=8192, description="Width of the layer below the vector.")
    deletion: float = Field(
        default=0.5, ge=0, lt=1, description="Share of a text's different words that are hidden from the encoder."
    )
    beta: float = Field(default=0.2, ge=0, le=10, description="Weight of the divergence; 1 is the bound itself.")
    warmup: float = Field(default=0.5, ge=0, le=1, description="Share of the run in which that weight rises from 0.")
    free_nats: float = Field(default=0.0, ge=0, description="Divergence that costs nothing, for each entry (λ).")

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "DeepBagEncoder":
        import torch

        from sslcore.models.bag_autoencoder import DeepBagEncoder

        widths = (self.hidden_dimensions, self.dimensions)
        return DeepBagEncoder(sif_weights(word_counts(tokenizer)), widths, generator, last=torch.nn.Identity())

    def beta_at(self, done: float) -> float:
        """The weight of the divergence at this share of the run."""
        return self.beta * (min(1.0, done / self.warmup) if self.warmup else 1.0)

    def _loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        from sslcore.objectives._variational_bound import VariationalBound

        return VariationalBound(self, *self._restoring(encoder), generator)
