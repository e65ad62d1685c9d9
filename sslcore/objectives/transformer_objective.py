"""What the objectives that pretrain a transformer share: its size, how the corpus is cut, and how it is trained.

Sizes are the compact BERTs of Turc, Chang, Lee, Toutanova 2019, "Well-Read Students Learn Better", table 1, and base of
Devlin et al. 2019. The rates, which suit masked language modelling, fall with the width, as in their appendix.
"""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from sslcore.errors import UserError
from sslcore.models.architecture import BIDIRECTIONAL, Architecture, architecture_of, configured, shape_of
from sslcore.objectives.family import Family
from sslcore.training.precision import Precision

if TYPE_CHECKING:
    import torch

    from sslcore.models.encoder import Encoder
    from sslcore.models.transformer import TransformerEncoder
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.registry import Tokenization
    from sslcore.tokenization.tokenizer import Tokenizer
    from sslcore.training.learner import TorchLearner


class Size(NamedTuple):
    dimensions: int
    layers: int
    heads: int
    learning_rate: float


SIZES = {
    "tiny": Size(128, 2, 2, 2e-3),
    "mini": Size(256, 4, 4, 1e-3),
    "small": Size(512, 4, 8, 6e-4),
    "medium": Size(512, 8, 8, 5e-4),
    "base": Size(768, 12, 12, 2e-4),
}


GOING_ON_RATE = 5e-5  # of Hugging Face's scripts that go on from a checkpoint, whatever its size
ENOUGH = 1_000_000  # tokens in which two different words are found, if there are two


class TransformerObjective(BaseModel):
    """A transformer of some size, trained on pieces of text."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: ClassVar[Family] = "context"
    vocabulary_grows: ClassVar[bool] = False
    model_types: ClassVar[tuple[str, ...]] = BIDIRECTIONAL
    kind: str  # each objective's own literal; named here so that it leads in forms and files
    size: Literal["tiny", "mini", "small", "medium", "base"] = Field(
        default="mini",
        description="Width, layers, heads and learning rate together: tiny 128 × 2, mini 256 × 4, small 512 × 4, "
        "medium 512 × 8, base 768 × 12.",
    )
    dimensions: int | None = Field(
        default=None, ge=1, le=8192, description="Width, and length of a text's vector; left out: as the size says."
    )
    layers: int | None = Field(default=None, ge=1, le=200, description="Left out: as the size says.")
    heads: int | None = Field(
        default=None, ge=1, le=256, description="Of attention in each layer; left out: as the size says."
    )
    architecture: dict[str, Any] | None = Field(
        default=None,
        description="In place of size, dimensions, layers and heads: model_type and other fields of a Hugging Face "
        "config.json. Training that goes on from an encoder has that one's.",
    )
    maximum_tokens: int = Field(
        default=128, ge=8, le=8192, description="Longest sequence, with the tokens that frame it; texts are cut there."
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Share of states set to zero in each layer.")
    pooling: Literal["mean", "first"] = Field(
        default="mean", description="Vector of a text: the mean of its tokens' states, or the state of its first."
    )
    epochs: int = Field(default=10, ge=1, le=100_000, description="Passes over the corpus.")
    batch_tokens: int = Field(
        default=8192,
        ge=8,
        le=10_000_000,
        description="Tokens in a step, about. Fewer make more steps of the same text: 1024 where it is little.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] | Literal["find"] | None = Field(
        default=None,
        description="Highest rate of AdamW; left out: as the size says, less for objectives that it harms; find: by a "
        "range test before the training.",
    )
    warmup: float = Field(default=0.06, ge=0, lt=1, description="Share of the run in which the rate rises.")
    schedule: Literal["linear", "cosine", "trapezoid"] = Field(
        default="linear",
        description="How the rate falls: in a line, as a cosine, or only in the last fifth of the run.",
    )
    weight_decay: float = Field(default=0.01, ge=0, le=1, description="AdamW's; norms and biases have none.")
    gradient_norm: float = Field(default=1.0, gt=0, description="Longer gradients are scaled to this length.")
    precision: Precision = Field(
        default="float32", description="Of products; sums and weights stay float32. On a GPU, bfloat16 is fastest."
    )
    parts: int = Field(
        default=1, ge=1, le=1024, description="A step is computed in as many parts, one after another, to save memory."
    )

    _goes_on: bool = PrivateAttr(False)  # from an encoder that has learned something

    @model_validator(mode="after")
    def _fits_together(self) -> Any:
        if self.architecture is not None:
            self._architecture_fits(self.architecture)
        elif self.shape.dimensions % self.shape.heads:
            raise ValueError(
                f"{self.shape.dimensions} dimensions cannot be divided among {self.shape.heads} heads: give dimensions "
                "that are a multiple of heads"
            )
        if self.batch_tokens < self.maximum_tokens:
            raise ValueError(
                f"batch_tokens is {self.batch_tokens}, less than one sequence of maximum_tokens {self.maximum_tokens}"
            )
        return self

    def _architecture_fits(self, architecture: Architecture) -> None:
        """Raise ValueError for what can be seen without the model."""
        if architecture.get("model_type") not in self.model_types:
            raise ValueError(
                f"{self.kind} trains {', '.join(self.model_types)}; the architecture has model_type "
                f"{architecture.get('model_type')!r}"
            )
        for name in ("dimensions", "layers", "heads"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} and architecture are both given: leave {name} out, or write it in there")

    @property
    def shape(self) -> Size:
        """The size or the architecture's, with what is given in its place."""
        given = {
            name: value for name in ("dimensions", "layers", "heads") if (value := getattr(self, name)) is not None
        }
        if self.architecture is None:
            return SIZES[self.size]._replace(**given)
        width, layers, heads = shape_of(self.architecture)
        alike = min(SIZES.values(), key=lambda size: abs(size.dimensions - width))
        return Size(width, layers, heads, alike.learning_rate)

    @property
    def rate_share(self) -> float:
        """Of the size's learning rate, which is that of masked language modelling: what this objective trains at."""
        return 1.0

    @property
    def peak_rate(self) -> float:
        """The learning rate that was given, or this objective's at its size."""
        given = self.learning_rate
        return given if isinstance(given, float) else self.rate_share * self.shape.learning_rate

    @property
    def tokenization(self) -> "Tokenization":
        from sslcore.tokenization.word_piece import WordPiece

        return WordPiece()

    @property
    def architecture_of_size(self) -> Architecture:
        """That of BERT."""
        shape = self.shape
        return {
            "model_type": "bert",
            "hidden_size": shape.dimensions,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "intermediate_size": 4 * shape.dimensions,
            "max_position_embeddings": self.maximum_tokens,
        }

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        tokenizer = corpus.tokenizer
        seen = np.unique(corpus.ids[:ENOUGH])
        words = int((seen >= tokenizer.first_word_id).sum())
        if words < 2:
            raise UserError(
                f"{self.kind} needs a vocabulary of at least 2 different words, this corpus has {words}: give more "
                "text or lower the tokenizer's minimum_count"
            )

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "TransformerEncoder":
        from sslcore.models.transformer import TransformerEncoder

        network = TransformerEncoder(
            configured(self.architecture or self.architecture_of_size, tokenizer, self.dropout),
            generator,
            frame=(tokenizer.classification_id, tokenizer.separator_id),
            first_word_id=tokenizer.first_word_id,
            pooling=self.pooling,
        )
        if self.maximum_tokens > network.maximum_tokens:
            raise UserError(
                f"maximum_tokens is {self.maximum_tokens}, the architecture takes sequences of at most "
                f"{network.maximum_tokens}: give that or less"
            )
        return network

    def going_on_from(self, earlier: "Encoder") -> Self:
        """This objective on the architecture of an earlier encoder, at a rate that keeps what it knows.

        Raises UserError for an encoder that is no transformer, or one that this objective does not train.
        """
        if not hasattr(earlier.network, "states"):
            raise UserError(f"{self.kind} cannot go on from {earlier!r}: it goes on from a transformer")
        own = {"size", "dimensions", "layers", "heads", "architecture"}
        said = {name: value for name, value in self.model_dump().items() if name not in own}
        said["learning_rate"] = self.learning_rate or GOING_ON_RATE
        try:
            going_on = type(self)(architecture=architecture_of(earlier.network.model.config), **said)
            going_on._goes_on = True
            return going_on
        except ValidationError as error:
            raise UserError(f"{self.kind} cannot go on from {earlier!r}: {error.errors()[0]['msg']}") from error

    def take_up(self, encoder: "Encoder", earlier: "Encoder") -> None:
        """The weights of the network and those of its head, if it has one of this kind."""
        if earlier.tokenizer.tokens != encoder.tokenizer.tokens:
            raise UserError(
                f"{self.kind} cannot go on from {earlier!r} on a corpus with another vocabulary: encode it with that "
                "encoder's tokenizer as it is; the vocabulary of a transformer does not grow"
            )
        encoder.network.load_state_dict(earlier.network.state_dict())
        encoder.heads = earlier.heads

    def loss(self, encoder: "Encoder", generator: "torch.Generator") -> "torch.nn.Module":
        """A module of the network and of what only training needs: forward(batch) gives `loss` and metrics."""
        raise NotImplementedError

    def learner(self, encoder: "Encoder", generator: "torch.Generator", *, device: str, workers: int) -> "TorchLearner":
        """AdamW, decaying matrices alone, with this objective's schedule and precision."""
        import torch

        from sslcore.randomness import drawn_seed
        from sslcore.training.learner import TorchLearner
        from sslcore.training.schedules import SCHEDULES

        loss = self.loss(encoder, generator).to(device)
        decayed = [p for p in loss.parameters() if p.ndim > 1]
        plain = [p for p in loss.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            betas=(0.9, 0.98),
            eps=1e-6,
            fused=True,
        )
        return TorchLearner(
            encoder,
            loss,
            [optimizer],
            SCHEDULES[self.schedule](self.peak_rate, self.warmup),
            threads=workers,
            seed=drawn_seed(generator),
            precision=self.precision,
            gradient_norm=self.gradient_norm,
            parts=self.parts,
        )
