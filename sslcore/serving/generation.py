"""Text written by a causal language model, and texts classified by it from a few examples without any training.

Classification in context: Brown et al. 2020, "Language Models are Few-Shot Learners", section 2.4. The examples with
their labels and then the text are the prompt; a label is as good as the model finds its tokens likely after that.

Every step computes all states again: simple, and at the lengths of these models a fraction of what a cache would save.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sslcore.errors import UserError
from sslcore.models.ragged import Sequences

if TYPE_CHECKING:
    from sslcore.models.encoder import Encoder


def generate(
    encoder: "Encoder",
    prompts: Sequence[str],
    *,
    tokens: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
) -> list[str]:
    """What comes after each prompt: at most `tokens` tokens, fewer where the text ends.

    At temperature 0 the likeliest token is taken each time, else one is drawn, of the `top_k` likeliest if that is
    given, by `generator`. What is longer than the model can take is continued from its last tokens.
    Raises UserError for an encoder that is no causal language model.
    """
    network = _causal(encoder)
    if temperature > 0 and generator is None:
        raise UserError("tokens are drawn at a temperature above 0: give a generator, or temperature=0 for none")
    tokenizer = encoder.tokenizer
    unwritten = [i for i in range(tokenizer.first_word_id) if i != tokenizer.separator_id]
    ids, offsets = tokenizer.encode_batch(prompts)
    texts = [list(map(int, text)) for text in np.split(ids, offsets[1:-1])] if len(prompts) else []
    lengths = [len(text) for text in texts]
    unfinished = list(range(len(texts)))
    for _ in range(tokens):
        if not unfinished:
            break
        framed = [_framed(encoder, texts[i]) for i in unfinished]
        last = np.cumsum([len(text) for text in framed]) - 1
        logits_BV = _logits(network, framed, last)
        logits_BV[:, unwritten] = -torch.inf
        chosen = _chosen(logits_BV, temperature, top_k, generator)
        for i, token in zip(unfinished, chosen, strict=True):
            texts[i].append(token)
        unfinished = [i for i in unfinished if texts[i][-1] != tokenizer.separator_id]
    written = [text[length:] for text, length in zip(texts, lengths, strict=True)]
    return [tokenizer.decode([i for i in text if i != tokenizer.separator_id]) for text in written]


def classify_in_context(
    encoder: "Encoder",
    examples: Sequence[tuple[str, str]],
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    template: str = "{text} {label}\n",
    per_token: bool = True,
) -> np.ndarray:
    """float64 [n, labels]: log-likelihood in nats of each label after the examples (text, label) and a text.

    `template` is how a text and its label stand together. `per_token` divides by a label's tokens, so that long labels
    have a chance. Of a prompt that is too long the end counts: the first examples are left out.
    Raises UserError for an encoder that is no causal language model, and for a label without tokens.
    """
    network = _causal(encoder)
    before, _, after = template.partition("{label}")
    shown = "".join(before.format(text=text) + label + after for text, label in examples)
    label_ids = [encoder.tokenizer.encode(label) for label in labels]
    empty = [label for label, ids in zip(labels, label_ids, strict=True) if len(ids) == 0]
    if empty:
        raise UserError(f"label {empty[0]!r} has no tokens: give labels in words that the tokenizer knows")
    scores = np.zeros((len(texts), len(labels)))
    for row, text in enumerate(texts):
        prompt = encoder.tokenizer.encode(shown + before.format(text=text))
        framed = [_framed(encoder, [*prompt, *ids], ahead=1) for ids in label_ids]
        ends = np.cumsum([len(ids) for ids in framed])
        # The states before each token of a label, which say how likely it is.
        places = np.concatenate([np.arange(e - len(ids), e) for e, ids in zip(ends, label_ids, strict=True)])
        log_likelihoods = _logits(network, framed, places).double().log_softmax(dim=1)
        targets = torch.from_numpy(np.concatenate(label_ids).astype(np.int64)).to(log_likelihoods.device)
        said = log_likelihoods.gather(1, targets[:, None])[:, 0].cpu().numpy()
        scores[row] = np.add.reduceat(said, np.cumsum([0, *map(len, label_ids[:-1])]))
    return scores / [len(ids) for ids in label_ids] if per_token else scores


def _causal(encoder: "Encoder") -> "torch.nn.Module":
    if not getattr(encoder.network, "causal", False):
        raise UserError(f"{encoder!r} writes no text: only a causal language model does; pretrain with causal_lm")
    return encoder.network.eval()


def _framed(encoder: "Encoder", ids: Sequence[int], ahead: int = 0) -> np.ndarray:
    """The begin token and the last ids, as many as the model can take; without the last `ahead`."""
    network = encoder.network
    kept = ids[max(0, len(ids) - ahead - (network.maximum_tokens - 1)) : len(ids) - ahead]
    return np.array([network.frame[0], *kept], np.int64)


def _logits(network: "torch.nn.Module", framed: list[np.ndarray], places: np.ndarray) -> torch.Tensor:
    """[K, V]: of the token after each of these places in the sequences, taken one after another."""
    table_VD = network.model.get_input_embeddings().weight  # type: ignore[union-attr, operator]
    offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in framed])])
    ids = torch.from_numpy(np.concatenate(framed)).to(table_VD.device)
    with torch.no_grad():
        states_MD = network.states(Sequences(ids, offsets, causal=True))  # type: ignore[operator]
        return states_MD[torch.from_numpy(places).to(table_VD.device)] @ table_VD.T


def _chosen(
    logits_BV: torch.Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None
) -> list[int]:
    if temperature <= 0:
        return logits_BV.argmax(dim=1).tolist()
    if top_k is not None:
        least_B1 = logits_BV.topk(min(top_k, logits_BV.shape[1]), dim=1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < least_B1, -torch.inf)
    likelihoods_BV = (logits_BV / temperature).softmax(dim=1).cpu()
    return torch.multinomial(likelihoods_BV, 1, generator=generator)[:, 0].tolist()
