"""What the word objectives share: their fields, the way a corpus is cut for them, and the learner that runs a kernel.

Each objective's own file says which of the papers' models it is. All draw windows and noise the same way, so they are
compared on equal terms.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from sslcore.errors import UserError
from sslcore.models.word_weights import sif_weights, word_counts
from sslcore.objectives.family import Family
from sslcore.randomness import numpy_generator
from sslcore.training.epochs import EpochOrder

if TYPE_CHECKING:
    import torch

    from sslcore.kernels.cpu import Output
    from sslcore.models.encoder import Encoder
    from sslcore.models.word_vectors import WordVectors
    from sslcore.tokenization.encoding import EncodedCorpus
    from sslcore.tokenization.registry import Tokenization
    from sslcore.tokenization.tokenizer import Tokenizer
    from sslcore.training.learner import KernelLearner, Metrics

STRETCH = 8192  # tokens drawn and trained by one call of the kernel; a document is cut at its end
STRETCHES = 64  # in a batch, for threads to share: they wait for each other at its end
ROW_MULTIPLE = 16  # float32: a row on the GPU begins at a cache line


class Stretch(NamedTuple):
    ids: np.ndarray  # int32 [n]
    boundaries: np.ndarray  # int64 [documents + 1]: offsets into ids
    seed: int


class Stretches(NamedTuple):
    """A batch: consecutive text, cut into stretches of about equal length."""

    stretches: list[Stretch]
    tokens: int
    begin: float
    end: float

    def share(self, rank: int, size: int) -> "Stretches":
        """Every size-th stretch from rank on, for one of `size` processes; it may be empty."""
        stretches = self.stretches[rank::size]
        return self._replace(stretches=stretches, tokens=sum(len(stretch.ids) for stretch in stretches))


class StretchBatches:
    """Consecutive text in batches of STRETCHES × STRETCH tokens; the order of batches is shuffled in each epoch."""

    def __init__(self, corpus: "EncodedCorpus", epochs: int, seed: int) -> None:
        self._corpus = corpus
        self._epochs = epochs
        self._seed = seed
        self._order = EpochOrder(-(-corpus.tokens // (STRETCH * STRETCHES)), seed)

    def __len__(self) -> int:
        return self._order.items * self._epochs

    def __getitem__(self, step: int) -> Stretches:
        corpus, size = self._corpus, STRETCH * STRETCHES
        epoch, number = divmod(step, self._order.items)
        order = self._order(epoch)
        # Only the last batch of the text may be shorter, wherever in the epoch it stands.
        before = epoch * corpus.tokens + number * size
        if number > self._order.place_of_last(epoch):
            before -= self._order.items * size - corpus.tokens
        start = int(order[number]) * size
        end = min(start + size, corpus.tokens)
        check_ids(corpus.ids[start:end], start, corpus.tokenizer.vocabulary_size)
        cuts = np.append(np.arange(start, end, STRETCH), end)
        seeds = numpy_generator(self._seed, "stretches", step).integers(0, 2**63, len(cuts) - 1)
        stretches = [
            Stretch(corpus.ids[a:b], documents_between(corpus.document_offsets, a, b), int(seed))
            for a, b, seed in zip(cuts[:-1].tolist(), cuts[1:].tolist(), seeds, strict=True)
        ]
        tokens, total = end - start, corpus.tokens * self._epochs
        return Stretches(stretches, tokens, before / total, (before + tokens) / total)


TrainStretch = Callable[[Stretch, np.ndarray, np.ndarray, float, float], tuple[float, int]]
"""(stretch, inputs, outputs, rate at its begin, rate at its end) → (loss in nats, pairs); updates both in place."""


class WordObjective(BaseModel):
    """The fields of word2vec, by the papers' names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    family: ClassVar[Family] = "context"
    vocabulary_grows: ClassVar[bool] = True
    kind: str  # each objective's own literal; named here so that it leads in forms and files
    dimensions: int = Field(default=100, ge=1, le=4096, description="Length of a word's vector.")
    window: int = Field(
        default=10, ge=1, le=100, description="Words to each side at most; each word draws 1 to this many."
    )
    epochs: int = Field(default=5, ge=1, le=1000, description="Passes over the corpus.")
    minimum_count: int = Field(
        default=1,
        ge=1,
        description="Words seen fewer times in the training split are passed over and get no vector; 1: the tokenizer "
        "has chosen already.",
    )
    subsampling: float = Field(
        default=1e-4,
        ge=0,
        le=1,
        description="Words more frequent than this share are thinned out; 0 keeps every occurrence.",
    )
    output: Literal["negative_sampling", "hierarchical_softmax"] = Field(
        default="negative_sampling",
        description="What a word is told apart from: noise words, or at each turn on its path through a Huffman tree.",
    )
    negatives: int = Field(default=5, ge=1, le=200, description="Noise words against which each window is told apart.")
    noise_exponent: float = Field(
        default=0.75, ge=-2, le=2, description="Noise words are drawn by count to this power; 1 is as they occur."
    )
    learning_rate: float = Field(default=0.025, gt=0, le=1, description="At the start.")
    schedule: Literal["linear", "constant"] = Field(
        default="linear", description="Whether the learning rate falls in a line, or stays."
    )
    pooling: Literal["mean", "sif", "unit"] = Field(
        default="sif",
        description="Vector of a text: mean of its words' vectors; SIF: frequent words count less; unit: mean of the "
        "vectors brought to length 1.",
    )
    continuable: bool = Field(
        default=False,
        description="Keep the output vectors too, so that training can go on with more text as if it had never ended; "
        "the model's file is then twice as large.",
    )
    deterministic: bool = Field(
        default=False,
        description="Same seed, same bytes: one thread trains. Otherwise all threads train at once (Hogwild), about "
        "proportionally faster, and no two runs are quite equal.",
    )

    @property
    def final_rate(self) -> float:
        """Share of the learning rate at which its fall ends.

        With noise words a tenth, where gensim's two workers end: better than word2vec.c's 1e-4, which a Huffman tree
        wants (figures: docs/word2vec.md).
        """
        return 0.1 if self.output == "negative_sampling" else 1e-4

    def counts(self, tokenizer: "Tokenizer") -> np.ndarray:
        """int64 [V]: occurrences of the words that are trained, 0 for the others."""
        counts = word_counts(tokenizer)
        return np.where(counts >= self.minimum_count, counts, 0)

    @property
    def tokenization(self) -> "Tokenization":
        from sslcore.tokenization.words import Words

        return Words()

    def check(self, corpus: "EncodedCorpus", device: str) -> None:
        counts, trained = word_counts(corpus.tokenizer), self.counts(corpus.tokenizer)
        words = int((trained > 0).sum())
        if words < 2:
            raise UserError(
                f"{self.kind} needs a vocabulary of at least 2 different words, this corpus has {words} that occur "
                f"{self.minimum_count} times or more (minimum_count), of {int((counts > 0).sum())}: give more text or "
                "lower minimum_count, the objective's or the tokenizer's"
            )
        if not (np.diff(corpus.document_offsets) > 1).any():
            raise UserError(f"{self.kind} learns from neighbours, but no document of this corpus has two words")

    def network(self, tokenizer: "Tokenizer", generator: "torch.Generator") -> "WordVectors":
        import torch

        from sslcore.models.word_vectors import WordVectors

        counts = self.counts(tokenizer)
        weights = sif_weights(counts) if self.pooling == "sif" else (counts > 0).astype(np.float32)
        network = WordVectors(weights, self.dimensions, unit=self.pooling == "unit")
        if self.continuable:
            network.keep_outputs(len(counts))
        bound = 1 / self.dimensions  # as gensim and fastText; word2vec.c's is half
        with torch.no_grad():
            network.vectors.uniform_(-bound, bound, generator=generator)
        return network

    def going_on_from(self, earlier: "Encoder") -> Self:
        """The same. Raises UserError for an encoder that has no vectors of words, or longer or shorter ones."""
        if not hasattr(earlier.network, "word_vectors") or earlier.dimensions != self.dimensions:
            raise UserError(
                f"{self.kind} with {self.dimensions} dimensions cannot go on from {earlier!r}: give an encoder of "
                "words of the same kind and dimensions"
            )
        return self

    def take_up(self, encoder: "Encoder", earlier: "Encoder") -> None:
        """Give the words that both know the vectors that the earlier one learned.

        Output vectors go on where the earlier encoder kept them (`continuable`) and both sample noise words; else they
        start again, as do all the turns of a Huffman tree, which is another one once counts have changed.
        """
        import torch

        old, new = self.shared_words(encoder, earlier)
        with torch.no_grad():
            encoder.network.vectors[new] = earlier.network.vectors[old].cpu()
            outputs = getattr(earlier.network, "outputs", None)
            if outputs is not None and self.output == earlier.objective["output"] == "negative_sampling":
                encoder.network.keep_outputs(encoder.tokenizer.vocabulary_size, persistent=self.continuable)
                encoder.network.outputs[new] = outputs[old].cpu()

    def shared_words(self, encoder: "Encoder", earlier: "Encoder") -> tuple["torch.Tensor", "torch.Tensor"]:
        """int64: the ids, there and here, of the words that both know."""
        import torch

        here = encoder.tokenizer.ids
        known = [
            (old, here[token])
            for old, token in enumerate(earlier.tokenizer.tokens)
            if token in here and old >= earlier.tokenizer.first_word_id
        ]
        if not known:
            raise UserError(
                "the corpus and the encoder to go on from have no word in common; encode the corpus with "
                "growing=encoder.tokenizer"
            )
        ids = torch.tensor(known, dtype=torch.int64)
        return ids[:, 0], ids[:, 1]

    def batches(self, corpus: "EncodedCorpus", seed: int) -> "StretchBatches":
        return StretchBatches(corpus, self.epochs, seed)

    def threads(self, workers: int) -> int:
        """How many train at once."""
        return 1 if self.deterministic else workers

    def kernel_output(self, counts: np.ndarray) -> "Output":
        """What the kernel tells the words apart from."""
        from sslcore.kernels import draws, huffman, reference
        from sslcore.kernels.cpu import Output

        noise = draws.alias_table(reference.noise_distribution(counts, self.noise_exponent))
        if self.output == "negative_sampling":
            return Output(self.negatives, noise, huffman.NO_PATHS)
        return Output(0, noise, huffman.huffman_paths(counts))

    def kernel_learner(
        self,
        encoder: "Encoder",
        train_stretch: TrainStretch,
        inputs: np.ndarray,
        outputs: np.ndarray,
        workers: int,
        finished: Callable[[], np.ndarray] | None = None,
    ) -> "KernelLearner":
        """Runs `train_stretch` over the stretches of each batch, on one thread or all.

        inputs float32 [rows of the network, ≥ dimensions] start as the network's vectors; they, or what `finished`
        makes of them, are copied back to it.
        """
        import torch

        threads = self.threads(workers)
        pool = ThreadPoolExecutor(threads) if threads > 1 else None

        def update(batch: Stretches, rate_begin: float, rate_end: float) -> "Metrics":
            fall = (rate_end - rate_begin) / max(1, len(batch.stretches))
            numbers = iter(range(len(batch.stretches)))  # shared: whoever is ready takes the next

            def train() -> list[tuple[float, int]]:
                rates = ((k, rate_begin + fall * k) for k in numbers)
                return [train_stretch(batch.stretches[k], inputs, outputs, rate, rate + fall) for k, rate in rates]

            if pool:
                working = [pool.submit(train) for _ in range(threads)]
                results = [result for thread in working for result in thread.result()]
            else:
                results = train()
            pairs = sum(n for _, n in results)
            return {"loss": sum(loss for loss, _ in results) / max(1, pairs)}

        return self.learner_of(encoder, update, torch.from_numpy(inputs), torch.from_numpy(outputs), finished)

    def learner_of(
        self,
        encoder: "Encoder",
        update: Callable[[Stretches, float, float], "Metrics"],
        inputs: "torch.Tensor",
        outputs: "torch.Tensor",
        finished: Callable[[], np.ndarray] | None = None,
    ) -> "KernelLearner":
        """The learner whose matrices, on any device, start as the network's and come back to it.

        Meanwhile the network has no vectors: of large vocabularies memory holds few copies.
        """
        import torch

        from sslcore.training.learner import KernelLearner
        from sslcore.training.schedules import constant, linear_decay

        vectors, kept, D = encoder.network.vectors, encoder.network.outputs, self.dimensions
        inputs[:, :D] = vectors.detach()
        vectors.data = torch.empty(0, D)
        if kept is not None:
            outputs[:, :D] = kept
        exported = outputs if kept is not None else None

        def export() -> None:
            learned = torch.from_numpy(finished()) if finished else inputs
            vectors.data = torch.empty(len(learned), D).copy_(learned[:, :D])
            if kept is not None and exported is not None:
                kept.copy_(exported[:, :D])

        rate = self.learning_rate
        schedule = constant(rate) if self.schedule == "constant" else linear_decay(rate, rate * self.final_rate)
        return KernelLearner(encoder, update, export, schedule, {"inputs": inputs, "outputs": outputs})


def window_learner(
    objective: WordObjective, model: int, encoder: "Encoder", device: str, workers: int
) -> "KernelLearner":
    """The learner of skip-gram and CBOW: one kernel, `model` says which (kernels/cpu.py)."""
    if device.startswith("cuda") and objective.output == "negative_sampling" and not objective.deterministic:
        return gpu_learner(objective, model, encoder, device)
    from sslcore.kernels import cpu, reference
    from sslcore.kernels.lanes import aligned_zeros

    counts = objective.counts(encoder.tokenizer)
    inputs, outputs = (aligned_zeros(len(counts), cpu.padded(objective.dimensions)) for _ in range(2))
    keep = reference.keep_probabilities(counts, objective.subsampling)
    output, threads = objective.kernel_output(counts), objective.threads(workers)

    def train_stretch(stretch: Stretch, *matrices_and_rates: Any) -> tuple[float, int]:
        ids = np.ascontiguousarray(stretch.ids)
        seed = np.uint64(stretch.seed)
        return cpu.train_stretch(
            model, ids, stretch.boundaries, keep, objective.window, output, threads, seed, *matrices_and_rates
        )

    return objective.kernel_learner(encoder, train_stretch, inputs, outputs, workers)


def gpu_learner(objective: WordObjective, model: int, encoder: "Encoder", device: str) -> "KernelLearner":
    """The same on a GPU: a batch is its token ids, everything else happens there (kernels/gpu.py)."""
    import torch

    try:
        from sslcore.kernels import draws, gpu, reference
    except ModuleNotFoundError as error:
        raise UserError(
            f"{objective.kind} on {device} needs the package {error.name}, which torch for CUDA brings along on Linux; "
            "install it, or train on the cpu"
        ) from error

    counts = objective.counts(encoder.tokenizer)
    width = -(-objective.dimensions // ROW_MULTIPLE) * ROW_MULTIPLE
    inputs, outputs = (torch.zeros(len(counts), width, device=device) for _ in range(2))
    keep = torch.from_numpy(reference.keep_probabilities(counts, objective.subsampling)).float().to(device)
    noise = gpu.Noise.of(draws.alias_table(reference.noise_distribution(counts, objective.noise_exponent)), device)
    generator = torch.Generator(device)

    def update(batch: Stretches, rate_begin: float, rate_end: float) -> "Metrics":
        if not batch.stretches:
            return {"loss": 0.0}
        generator.manual_seed(batch.stretches[0].seed)
        ids = torch.from_numpy(np.concatenate([stretch.ids for stretch in batch.stretches])).to(device)
        starts = np.cumsum([0, *(len(stretch.ids) for stretch in batch.stretches[:-1])])
        ends = [stretch.boundaries[1:] + start for stretch, start in zip(batch.stretches, starts, strict=True)]
        boundaries = torch.from_numpy(np.concatenate(ends)).to(device)
        windows = gpu.draw_windows(ids, boundaries, keep, objective.window, generator)
        negatives, times = gpu.draw_negatives(noise, gpu.groups_of(windows), objective.negatives, generator)
        loss = gpu.update_windows(
            model, inputs, outputs, windows, negatives, times, rate_begin, rate_end, widest=2 * objective.window + 1
        )
        return {"loss": float(loss / gpu.pairs(model, windows).clamp_min(1))}

    return objective.learner_of(encoder, update, inputs, outputs)


def check_ids(ids: np.ndarray, start: int, vocabulary: int) -> None:
    """Raise UserError for an id without a row: the kernels look at no bounds."""
    if ids.min() < 0 or ids.max() >= vocabulary:
        place = int(np.flatnonzero((ids < 0) | (ids >= vocabulary))[0])
        raise UserError(
            f"token {start + place:,} of the corpus has the id {ids[place]}, but its vocabulary has {vocabulary:,} "
            "ids, from 0 on: the files of two corpora may be mixed up; encode it again"
        )


def documents_between(offsets: np.ndarray, start: int, end: int) -> np.ndarray:
    """int64: the document offsets within tokens [start, end), counted from start; both ends are boundaries."""
    inside = offsets[np.searchsorted(offsets, start, "right") : np.searchsorted(offsets, end, "left")]
    return np.concatenate([[start], inside, [end]]).astype(np.int64) - start
