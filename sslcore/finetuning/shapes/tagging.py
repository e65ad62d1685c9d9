"""Text → tag per token: a linear head on the state of each word, under a CRF if wanted.

A word is what the row says is one. Its pieces are what the encoder reads, and the state of the first stands for it
(Devlin et al. 2019, §5.3), in a causal model that of the last, which alone has seen the whole word. Encoders that give
texts one vector read each word as a text: with word vectors a baseline that knows no context.

A word without a piece, or beyond what is read of its row, is "O" where that is a tag, else what the head says of zeros.

n rows, W words of all rows, one row after another, B rows of a batch, L words of its longest row, D dimensions of the
encoder, C tags.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from sslcore.errors import UserError
from sslcore.finetuning.encoded import EncodedTexts, tensors
from sslcore.finetuning.entities import OUTSIDE, entity_scores, scheme_of
from sslcore.finetuning.mistakes import numbered
from sslcore.finetuning.scores import accuracy, cross_entropy, macro_f1
from sslcore.finetuning.shapes.classification import UNKNOWN, softmax
from sslcore.finetuning.shapes.token_states import TokenNetwork
from sslcore.models.framing import places_of
from sslcore.models.transformer import TransformerEncoder
from sslcore.randomness import drawn_from

if TYPE_CHECKING:
    import pyarrow as pa

    from sslcore.models.encoder import Encoder

TRANSITIONS = "transitions.json"
UNHEARD_OF = "B-?"  # the tag of a word whose own is none of the labels: an entity that is never found


@dataclass(frozen=True)
class TaggedWords:
    """n rows of words, W in all, as the ids of each word's pieces."""

    pieces: EncodedTexts  # of each word
    rows: np.ndarray  # int64 [n + 1]: row r has the words rows[r]:rows[r + 1]
    tags: np.ndarray  # int64 [W]: places among the labels; UNKNOWN where that is not known

    def __len__(self) -> int:
        return len(self.rows) - 1

    @property
    def texts(self) -> tuple[EncodedTexts]:
        """The pieces of each row."""
        return (EncodedTexts(self.pieces.ids, self.pieces.offsets[self.rows]),)

    @property
    def read(self) -> np.ndarray:
        """bool [W]: the words of which the encoder sees a piece."""
        return self.pieces.lengths > 0

    @property
    def lengths(self) -> np.ndarray:
        return self.texts[0].lengths

    def with_texts(self, texts: tuple[EncodedTexts, ...]) -> "TaggedWords":
        return replace(self, pieces=EncodedTexts(texts[0].ids, self.pieces.offsets))

    def take(self, rows: np.ndarray) -> "TaggedWords":
        words, bounds = places_of(self.rows, rows)
        return TaggedWords(self.pieces.take(words), bounds, self.tags[words])

    def by_row(self, of_words: Sequence[Any]) -> list[list[Any]]:
        """What is said of all words, cut into rows."""
        return [list(of_words[a:b]) for a, b in zip(self.rows[:-1].tolist(), self.rows[1:].tolist(), strict=True)]


class TaggerNetwork(TokenNetwork):
    """Scores [W, C] of the words' tags; `crf` adds those of a tag after another (Lample et al. 2016, eq. 1)."""

    reads = "text"

    def __init__(self, encoder: nn.Module, dimensions: int, tags: int, crf: nn.Module | None) -> None:
        super().__init__(encoder, dimensions, tags)
        self.crf = crf
        self._unread = self._words = 0  # of the training rows

    def states(self, examples: TaggedWords) -> torch.Tensor:
        """[W, D]; zeros for a word that is not read."""
        pieces, device = examples.pieces, self.feature_mean.device
        if not isinstance(self.encoder, TransformerEncoder):
            return self.encoder(*tensors(pieces, device))
        bounds = pieces.offsets[examples.rows]
        sequences = self.encoder.framed(*tensors(examples.texts[0], device))
        read = np.flatnonzero(examples.read)
        row = np.repeat(np.arange(len(examples)), np.diff(examples.rows))[read]
        places = pieces.offsets[read + 1] - 1 if self.encoder.causal else pieces.offsets[read]
        places = places - bounds[row] + sequences.offsets[row] + 1
        states_RD = self.encoder.states(sequences)[torch.from_numpy(places).to(device)].float()
        states_WD = states_RD.new_zeros(len(examples.tags), states_RD.shape[1])
        return states_WD.index_copy(0, torch.from_numpy(read).to(device), states_RD)

    def prepare(self, examples: TaggedWords) -> None:
        super().prepare(examples)
        self._unread, self._words = int((~examples.read).sum()), len(examples.tags)

    def notes(self, labels: Sequence[str]) -> tuple[str, ...]:
        if not self._unread:
            return ()
        return (
            f"{self._unread:,} of {self._words:,} words of the training rows are not read: they are beyond the longest "
            "text (maximum_tokens), or nothing to the tokenizer",
        )

    def features(self, examples: TaggedWords) -> torch.Tensor:
        read_W = torch.from_numpy(examples.read).to(self.feature_mean.device)
        return super().features(examples) * read_W[:, None]

    def decided(self, features_WD: torch.Tensor, examples: TaggedWords | None) -> torch.Tensor:
        """[W, C]: the head's scores; out of training those of a CRF's best path change places with the highest.

        Where no examples say which rows there are, no path is looked for.
        """
        scores_WC = self.head(features_WD)
        if self.crf is None or self.training or examples is None or not len(scores_WC):
            return scores_WC
        scores_BLC, mask_BL = self._padded(scores_WC, examples)
        filled = mask_BL[:, 0]
        paths = self.crf.decode(scores_BLC[filled], mask_BL[filled])  # type: ignore[operator]
        path_W = torch.tensor([tag for path in paths for tag in path], device=scores_WC.device)[:, None]
        highest_W, best_W = scores_WC.max(dim=1, keepdim=True)
        lower = scores_WC.gather(1, path_W)
        return scores_WC.scatter(1, best_W, lower).scatter(1, path_W, highest_W)

    def loss(self, scores_WC: torch.Tensor, examples: TaggedWords) -> torch.Tensor:
        """Nats a word."""
        tags_W = torch.from_numpy(examples.tags).to(scores_WC.device)
        if self.crf is None or not self.training:
            return nn.functional.cross_entropy(scores_WC, tags_W, ignore_index=UNKNOWN)
        (scores_BLC, mask_BL), (tags_BL, _) = self._padded(scores_WC, examples), self._padded(tags_W, examples)
        return -self.crf(scores_BLC, tags_BL, mask_BL, reduction="token_mean")

    def named(self, outputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """Under a CRF no probabilities: those of a token alone are not what decides."""
        scores = {"tag_scores": outputs}
        return {**scores, "probabilities": outputs.softmax(dim=-1)} if self.crf is None else scores

    def beside(self) -> dict[str, Any]:
        """A CRF's scores: a path's is start[first] + Σ tag_scores + Σ transitions[tag][next] + end[last]."""
        if self.crf is None:
            return {}
        fields = {"start": "start_transitions", "transitions": "transitions", "end": "end_transitions"}
        return {TRANSITIONS: {name: getattr(self.crf, field).tolist() for name, field in fields.items()}}

    def _padded(self, of_words: torch.Tensor, examples: TaggedWords) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, L, …] of [W, …], and where words stand, bool [B, L]."""
        lengths_B = torch.from_numpy(np.diff(examples.rows)).to(of_words.device)
        padded = nn.utils.rnn.pad_sequence(of_words.split(lengths_B.tolist()), batch_first=True)
        return padded, torch.arange(padded.shape[1], device=of_words.device) < lengths_B[:, None]


class Tagging(BaseModel):
    """Each token of a row has one of some tags, of entities (BIO, BIOES) or plain ones."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Text → tag per token")

    kind: Literal["tags"] = "tags"
    crf: bool = Field(
        False, description="Score a tag by the one before it too: a conditional random field, of pytorch-crf."
    )

    columns: ClassVar[tuple[str, ...]] = ("tokens",)
    target: ClassVar[str] = "tags"
    chosen_by: ClassVar[tuple[str, ...]] = ("f1", "-loss")

    def labels_of(self, rows: "pa.Table") -> tuple[str, ...]:
        check_rows(rows)
        return tuple(sorted({tag for tags in rows["tags"].to_pylist() for tag in tags}))

    def examples(
        self, rows: "pa.Table", encoder: "Encoder", labels: Sequence[str], *, maximum_tokens: int
    ) -> TaggedWords:
        """Raises UserError as `check_rows` does, where the rows have tags."""
        tagged = "tags" in rows.column_names
        if tagged:
            check_rows(rows)
        tokens = rows["tokens"].to_pylist()
        bounds = np.concatenate([[0], np.cumsum([len(words or ()) for words in tokens], dtype=np.int64)])
        words = [word or "" for row in tokens for word in row or ()]
        pieces = pieces_of(words, encoder)
        if isinstance(encoder.network, TransformerEncoder):
            frame = 1 if encoder.network.causal else 2
            pieces = cut(pieces, bounds, min(maximum_tokens, encoder.network.maximum_tokens - frame))
        places = {label: place for place, label in enumerate(labels)}
        known = [tag for tags in rows["tags"].to_pylist() for tag in tags] if tagged else [""] * len(words)
        return TaggedWords(pieces, bounds, np.array([places.get(tag, UNKNOWN) for tag in known], np.int64))

    def check(self, train: TaggedWords, labels: Sequence[str]) -> None:
        """Raise UserError unless at least two tags occur."""
        found = np.unique(train.tags[train.tags != UNKNOWN])
        if len(found) < 2:
            what = f"every token has the tag {labels[int(found[0])]!r}" if len(found) else "no token has a tag"
            raise UserError(f"{what} ({len(train):,} rows): a tagger needs two tags or more; check the column of tags")

    def network(self, encoder: "Encoder", labels: Sequence[str]) -> TaggerNetwork:
        crf = conditional_random_field(len(labels)) if self.crf else None
        return TaggerNetwork(encoder.network, encoder.dimensions, len(labels), crf)

    def metrics(self, scores_WC: np.ndarray, examples: TaggedWords, labels: Sequence[str]) -> dict[str, float]:
        """Of entities precision, recall and F1; of plain tags F1 is the mean over the tags. Accuracy is of tokens."""
        said, truth = chosen(scores_WC, examples, labels), examples.tags
        known = truth != UNKNOWN
        of_tokens = {
            "accuracy": accuracy(truth, said),
            "loss": cross_entropy(truth[known], scores_WC[known]) if known.any() else 0.0,
        }
        if scheme_of(labels) == "plain":
            return {"f1": macro_f1(np.where(known, truth, len(labels)), said), **of_tokens}
        names = [*labels, UNHEARD_OF]  # a place of -1 is the last
        rows = (examples.by_row([names[place] for place in places]) for places in (truth, said))
        return {**entity_scores(*rows)._asdict(), **of_tokens}

    def predictions(self, scores_WC: np.ndarray, examples: TaggedWords, labels: Sequence[str]) -> dict[str, list[Any]]:
        """The tags of each row and their probabilities, and how many of its words were not read."""
        said = chosen(scores_WC, examples, labels)
        probabilities = softmax(scores_WC)[np.arange(len(said)), said] if len(said) else np.zeros(0)
        unread = np.concatenate([[0], np.cumsum(~examples.read)])[examples.rows]
        return {
            "tags": examples.by_row([labels[place] for place in said]),
            "probabilities": examples.by_row(probabilities.tolist()),
            "words_not_read": np.diff(unread).tolist(),
        }


def chosen(scores_WC: np.ndarray, examples: TaggedWords, labels: Sequence[str]) -> np.ndarray:
    """int64 [W]: the place of each word's tag."""
    best = scores_WC.argmax(axis=1)
    return np.where(examples.read, best, labels.index(OUTSIDE)) if OUTSIDE in labels else best


def pieces_of(words: Sequence[str], encoder: "Encoder") -> EncodedTexts:
    """The ids of each word, as it would be written within a text."""
    from sslcore.corpus.characters import UNSPACED, character_table
    from sslcore.models.encoder import token_ids

    if not isinstance(encoder.network, TransformerEncoder):  # which may have ids of its own for unknown words
        ids, offsets = token_ids(encoder.tokenizer, encoder.network, words)
        return EncodedTexts(np.asarray(ids), np.asarray(offsets))
    # Some tokenizers write a space before a word into its piece, or as a piece of its own. The latter is kept where
    # words are written with spaces: a text in Chinese has none between its characters.
    ids, offsets, ends = encoder.tokenizer.encode_with_ends([f" {word}" for word in words])
    flags = character_table().flags
    unspaced = np.array([bool(word) and bool(flags[ord(word[0])] & UNSPACED) for word in words], bool)
    kept = (ends > 1) | ~np.repeat(unspaced, np.diff(offsets))
    return EncodedTexts(ids[kept], np.concatenate([[0], np.cumsum(kept)])[offsets])


def cut(pieces: EncodedTexts, rows: np.ndarray, most: int) -> EncodedTexts:
    """The same without the words that end beyond the first `most` pieces of their row [n + 1]."""
    begins = np.repeat(pieces.offsets[rows[:-1]], np.diff(rows))
    lengths = np.where(pieces.offsets[1:] - begins <= most, pieces.lengths, 0)
    kept = np.repeat(lengths > 0, pieces.lengths)
    return EncodedTexts(pieces.ids[kept], np.concatenate([[0], np.cumsum(lengths)]))


def check_rows(rows: "pa.Table") -> None:
    """Raise UserError naming the rows without a token, without tags, or with more of one than of the other."""
    import pyarrow.compute as pc

    if not len(rows):
        raise UserError("there are no rows with tags to train on; give a file with tokens and tags")
    tokens, tags = (pc.fill_null(pc.list_value_length(rows[name]), 0).to_numpy() for name in ("tokens", "tags"))
    if len(empty := np.flatnonzero(tokens == 0)):
        raise UserError(f"no token in {numbered(empty)} of {len(rows):,}; take them out, or check the column of tokens")
    if len(uneven := np.flatnonzero(tokens != tags)):
        first = uneven[0]
        raise UserError(
            f"another number of tags than of tokens in {numbered(uneven)} of {len(rows):,} (row {first + 1:,}: "
            f"{tokens[first]:,} tokens, {tags[first]:,} tags); give every token one tag"
        )
    if len(missing := np.flatnonzero([None in row for row in rows["tags"].to_pylist()])):
        raise UserError(f"a token without a tag in {numbered(missing)} of {len(rows):,}; give every token one tag")


def conditional_random_field(tags: int) -> nn.Module:
    """pytorch-crf's, every step from tag to tag equally likely. Raises UserError where that is not installed."""
    try:
        from torchcrf import CRF
    except ImportError:
        raise UserError("crf: true needs the package pytorch-crf: pip install pytorch-crf, or leave it out") from None
    with drawn_from(0):  # it draws weights from torch's own generator
        crf = CRF(tags, batch_first=True)
    for parameter in crf.parameters():
        nn.init.zeros_(parameter)
    return crf
