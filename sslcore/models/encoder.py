"""Text to vector: a tokenizer and a network, saved together without pickle.

The network is a torch module with `forward(ids int64 [N], offsets int64 [B + 1]) -> float32 [B, dimensions]`: the token
ids of B texts one after another, text b being ids[offsets[b]:offsets[b + 1]]. A text without known tokens gives zeros.
Which module it is follows from the objective's configuration, so encoder.json and the weights are all there is to load.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from sslcore.errors import UserError
from sslcore.models.weights import load_weights, read_tensors, save_tensors, save_weights
from sslcore.progress import Progress, silent

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

    from sslcore.models.transformer import Pooling
    from sslcore.tokenization.registry import Tokenization
    from sslcore.tokenization.tokenizer import Tokenizer

DESCRIPTION = "encoder.json"
WEIGHTS = "weights.safetensors"
HEADS = "heads.safetensors"
FORMAT = 1  # raised when an older sslcore could not read what we write

LayerGroups = list[tuple[str, list[str]]]


class Network(Protocol):
    """What an objective's network offers beside being a torch module."""

    dimensions: int

    def layer_groups(self) -> LayerGroups:
        """(name, its parameters' names) from input to output, every parameter in exactly one."""


class Encoder:
    """Encodes texts; made by `pretrain` or `load`."""

    def __init__(self, tokenizer: "Tokenizer", network: Any, objective: dict[str, Any], seed: int) -> None:
        self.tokenizer = tokenizer
        self.network = network.eval()
        self.objective = objective
        self.seed = seed
        self.label_names: tuple[str, ...] = ()  # those of the corpus it is being trained on
        self.heads: dict[str, torch.Tensor] = {}  # of the pretext task, KIND.NAME: for training that goes on

    @property
    def dimensions(self) -> int:
        return self.network.dimensions

    @property
    def known_ids(self) -> int:
        """How many different ids the network knows: the vocabulary, and what it adds for words outside."""
        return getattr(self.network, "known_ids", self.tokenizer.vocabulary_size)

    def __repr__(self) -> str:
        return (
            f"Encoder({self.objective['kind']}, {self.dimensions} dimensions, "
            f"{self.tokenizer.vocabulary_size} tokens in the vocabulary)"
        )

    def encode(self, texts: Sequence[str], *, batch_size: int = 4096) -> np.ndarray:
        """float32 [n, dimensions], one row a text; zeros for a text without known words."""
        if isinstance(texts, str):
            raise UserError("encode takes a list of texts, a single string was given; write encode([text])")
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for start in range(0, len(texts), batch_size):
            batch = list(texts[start : start + batch_size])
            vectors[start : start + len(batch)] = self.encode_ids(*token_ids(self.tokenizer, self.network, batch))
        return vectors

    def encode_ids(self, ids: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """float32 [B, dimensions] of the B texts whose ids lie between consecutive offsets [B + 1]."""
        device = next(self.network.parameters()).device
        self.network.eval()
        with torch.inference_mode():
            ids_N = torch.from_numpy(np.asarray(ids, dtype=np.int64)).to(device)
            offsets_B = torch.from_numpy(np.asarray(offsets, dtype=np.int64)).to(device)
            return self.network(ids_N, offsets_B).cpu().numpy()

    def layer_groups(self) -> LayerGroups:
        """(name, its parameters' names) from input to output: what freezing policies choose from."""
        return self.network.layer_groups()

    def fresh(self, generator: torch.Generator) -> "Encoder":
        """The same architecture and tokenizer with new random weights: the from-scratch contender."""
        from sslcore.objectives.registry import parse_objective

        network = parse_objective(self.objective).network(self.tokenizer, generator)
        return Encoder(self.tokenizer, network, self.objective, self.seed)

    def save(self, folder: str | Path) -> None:
        """Write weights.safetensors, encoder.json and the tokenizer's files."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(self.network, folder / WEIGHTS)
        if self.heads:
            save_tensors(self.heads, folder / HEADS)
        description = {"format": FORMAT, "objective": self.objective, "seed": self.seed, "dimensions": self.dimensions}
        (folder / DESCRIPTION).write_text(json.dumps(description, indent=1, ensure_ascii=False) + "\n", "utf-8")
        self.tokenizer.save(folder)

    @classmethod
    def load(cls, folder: str | Path) -> "Encoder":
        """Read what `save` wrote. Raises UserError naming the file, the tensor or the version that does not fit."""
        from sslcore.objectives.registry import parse_objective
        from sslcore.tokenization.tokenizer import Tokenizer

        folder = Path(folder)
        description = read_description(folder / DESCRIPTION)
        tokenizer = Tokenizer.load(folder)
        network = parse_objective(description["objective"]).network(tokenizer, torch.Generator().manual_seed(0))
        load_weights(network, folder / WEIGHTS)
        encoder = cls(tokenizer, network, description["objective"], description["seed"])
        if (folder / HEADS).exists():
            encoder.heads = read_tensors(folder / HEADS)
        return encoder

    @classmethod
    def from_huggingface(
        cls, checkpoint: str | Path, *, pooling: "Pooling | None" = None, progress: Progress = silent
    ) -> "Encoder":
        """The encoder of a public checkpoint: a folder with config.json, or a name on the Hugging Face hub.

            encoder = Encoder.from_huggingface("FacebookAI/roberta-base")
            pretrain(MaskedLM(epochs=1), corpus, seed=0, continuing=encoder)

        Kinds: `KINDS` in architecture.py, BERT to DeBERTa. Weights are read from safetensors alone, and no code of
        the checkpoint runs. `pooling`: default as its sentence-transformers files say, without any the mean.
        Raises UserError when the checkpoint cannot be had or read, or when none of its tensors fits.
        """
        from sslcore.models.checkpoint import encoder_of

        return encoder_of(checkpoint, pooling, progress)

    def nearest(self, texts: Sequence[str], n: int = 10) -> list[list[tuple[str, float]]]:
        """For each text the n words whose vectors lie nearest to its own, with their cosines; the word itself is one.

        Empty for a text without known words. Raises UserError for an encoder whose tokens have no vectors of their own.
        """
        words = self._words()
        directions_WD = _unit(self.network.word_vectors()[words])
        found: list[list[tuple[str, float]]] = []
        for vector_D in _unit(self.encode(texts)):
            cosines_W = directions_WD @ vector_D
            best = np.argsort(-cosines_W, kind="stable")[: n if vector_D.any() else 0]
            found.append([(self.tokenizer.tokens[words[i]], float(cosines_W[i])) for i in best])
        return found

    @classmethod
    def from_keyed_vectors(cls, keyed: "KeyedVectors", tokenization: "Tokenization | None" = None) -> "Encoder":
        """An encoder of word vectors made elsewhere: whatever gensim has loaded, word2vec's and fastText's files too.

            keyed = KeyedVectors.load_word2vec_format("vectors.bin", binary=True)
            keyed = gensim.models.fasttext.load_facebook_vectors("model.bin")

        `tokenization` says how texts are cut into these words (default: `Words()`). Texts are pooled by the plain mean:
        gensim makes counts up where a file has none, so they say nothing about how frequent a word is.
        """
        from sslcore.objectives.fast_text import FastText
        from sslcore.objectives.skip_gram import SkipGram
        from sslcore.tokenization.engine import SPECIAL_TOKENS
        from sslcore.tokenization.tokenizer import Tokenizer
        from sslcore.tokenization.words import Words

        specification = tokenization or Words()
        words = [word for word in keyed.index_to_key if word not in SPECIAL_TOKENS]
        tokens = [*SPECIAL_TOKENS, *words]
        counted = "count" in keyed.expandos
        counts = np.array(
            [0] * len(SPECIAL_TOKENS) + [int(keyed.get_vecattr(w, "count")) if counted else 1 for w in words]
        )
        tokenizer = Tokenizer(specification, tokens, counts, specification.restore(tokens, Path()))
        fields: dict[str, Any] = {"dimensions": keyed.vector_size, "pooling": "mean"}
        objective: SkipGram | FastText = SkipGram(**fields)
        if hasattr(keyed, "vectors_ngrams"):
            ngrams = {"shortest_ngram": keyed.min_n, "longest_ngram": keyed.max_n, "buckets": keyed.bucket}
            objective = FastText(**fields, **ngrams)
        network = objective.network(tokenizer, torch.Generator().manual_seed(0))
        with torch.no_grad():
            network.vectors.zero_()
            network.vectors[len(SPECIAL_TOKENS) : len(tokens)] = torch.from_numpy(np.stack([keyed[w] for w in words]))
            if isinstance(objective, FastText):
                network.vectors[len(tokens) :] = torch.from_numpy(keyed.vectors_ngrams[network.used])
        return cls(tokenizer, network, objective.model_dump(mode="json"), seed=0)

    def to_keyed_vectors(self) -> "KeyedVectors":
        """gensim KeyedVectors of the trained words, with their counts; special tokens and rarer words are left out.

        Those of FastText are gensim's FastTextKeyedVectors, which know unseen words too.

        Raises UserError for an encoder whose tokens have no vectors of their own.
        """
        trained = self._words()
        words = [self.tokenizer.tokens[i] for i in trained]
        keyed = self.network.empty_keyed_vectors()
        keyed.add_vectors(words, self.network.word_vectors()[trained])
        for i, word in zip(trained, words, strict=True):
            keyed.set_vecattr(word, "count", int(self.tokenizer.counts[i]))
        return keyed

    def _words(self) -> np.ndarray:
        """int64: the ids of the words that have vectors of their own. Raises UserError where no token has."""
        if not hasattr(self.network, "word_vectors"):
            raise UserError(
                f"an encoder of kind {self.objective['kind']!r} has vectors of texts, not of words: use encode(texts), "
                "or pretrain with a word objective such as skip_gram"
            )
        trained = np.flatnonzero(self.tokenizer.counts >= self.objective.get("minimum_count", 1))
        return trained[trained >= self.tokenizer.first_word_id]


def token_ids(tokenizer: "Tokenizer", network: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The ids int32 [N] of all texts and their offsets int64 [B + 1], as the network wants them.

    They are the tokenizer's, unless the network knows more than the vocabulary: n-grams of unknown words.
    """
    if hasattr(network, "ids_with_unseen"):
        return network.ids_with_unseen(tokenizer, texts)
    return tokenizer.encode_batch(texts)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Each row at length 1; zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12))


def read_description(path: Path) -> dict[str, Any]:
    """The fields of an encoder.json; UserError when it is missing, damaged or from a newer sslcore."""
    try:
        description = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.parent} holds no encoder: {path.name} is missing") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read ({error}); copy or train the encoder again") from error
    fields = {"format": int, "objective": dict, "seed": int}
    for name, kind in fields.items():
        if not isinstance(description, dict) or not isinstance(description.get(name), kind):
            raise UserError(
                f"{path}: field {name!r} is missing or not {kind.__name__}; copy or train the encoder again"
            )
    if description["format"] > FORMAT:
        raise UserError(
            f"{path} has format {description['format']}, this sslcore reads up to {FORMAT}: update sslcore to load it"
        )
    return description
