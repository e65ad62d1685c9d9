"""Word2vec in plain numpy: slow, obvious, and what the fast kernels are checked against, update by update.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and their
Compositionality": equation 4 is negative sampling, section 2.1 hierarchical softmax, equation 5 the subsampling (here
in the form of the authors' code), section 2.2 the noise distribution counts^0.75. The models are those of Mikolov et
al. 2013a, "Efficient Estimation of Word Representations in Vector Space", the dynamic window its section 3.2. The
negatives of a window are shared by its contexts (Ji et al. 2016, "Parallelizing Word2Vec in Shared and Distributed
Memory") and by a few windows far from it, a group: a window of skip-gram is one small matrix product, and so is a group
of CBOW.

Letters: V words, D dimensions, K negatives, M rows of one window's input, J of its output.
"""

from collections.abc import Callable

import numpy as np

from sslcore.kernels.huffman import Paths

NOISE_EXPONENT = 0.75
Targets = tuple[np.ndarray, np.ndarray]  # rows of the output matrix int [J]; 1 or 0 for each, what it should say
Window = tuple[np.ndarray, Targets]  # rows of the input matrix int [M], and what they are to tell apart


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    """float64 [V]: how likely an occurrence of each word stays, sqrt(t/f) + t/f of word2vec.c; 1 when threshold is 0.

    Words that never occur (special tokens) get 0: they are no words and never enter a window.
    """
    frequencies = counts / max(1, counts.sum())
    if threshold == 0:
        return (counts > 0).astype(np.float64)
    ratio = np.divide(threshold, frequencies, out=np.zeros(len(counts)), where=frequencies > 0)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


def noise_distribution(counts: np.ndarray, exponent: float = NOISE_EXPONENT) -> np.ndarray:
    """float64 [V], sums to 1: the probability of each word as a negative, counts^0.75; 0 for what never occurs."""
    weights = np.where(counts > 0, np.maximum(counts, 1).astype(np.float64) ** exponent, 0.0)
    return weights / weights.sum()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def negative_targets(center: int, negatives_K: np.ndarray) -> Targets:
    """The center, then the negatives; one that is the center is left out, as word2vec.c does."""
    others = negatives_K[negatives_K != center]
    return np.array([center, *others]), np.array([1.0] + [0.0] * len(others))


def path_targets(center: int, paths: Paths) -> Targets:
    """The inner nodes on the way to the center; 1 where the dot product must be positive to go on."""
    here = slice(paths.offsets[center], paths.offsets[center + 1])
    return paths.nodes[here], (paths.turns[here] > 0).astype(float)


def step(
    X_MD: np.ndarray, Y_JD: np.ndarray, labels_J: np.ndarray, times_J: np.ndarray | float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """What to add to X and to Y, per unit of learning rate, and the loss of the M × J pairs in nats, each so often."""
    logits_MJ = X_MD @ Y_JD.T
    errors_MJ = times_J * (labels_J - sigmoid(logits_MJ))
    loss = float((times_J * np.logaddexp(0, np.where(labels_J == 1, -logits_MJ, logits_MJ))).sum())  # -log sigmoid(±x)
    return errors_MJ @ Y_JD, errors_MJ.T @ X_MD, loss


def update_skip_gram(
    inputs_VD: np.ndarray, outputs_VD: np.ndarray, group: list[Window], rate: float
) -> tuple[float, int]:
    """(loss, pairs) before each step of gradient descent on both matrices, in place, window after window.

    Each context predicts the center. All products of a window are taken with the values from before it; a row that
    occurs twice receives both its gradients.
    """
    loss, pairs = 0.0, 0
    for contexts_M, (rows_J, labels_J) in group:
        to_X_MD, to_Y_JD, here = step(inputs_VD[contexts_M], outputs_VD[rows_J], labels_J)
        np.add.at(inputs_VD, contexts_M, rate * to_X_MD)
        np.add.at(outputs_VD, rows_J, rate * to_Y_JD)
        loss, pairs = loss + here, pairs + len(contexts_M)
    return loss, pairs


def update_cbow(
    inputs_VD: np.ndarray, outputs_VD: np.ndarray, group: list[Window], rate: float, combine: str = "mean"
) -> tuple[float, int]:
    """The same for the contexts of a window together, by their mean or sum; all windows of the group at once.

    As in word2vec.c and gensim, every context receives the whole gradient of the mean; that of the sum is divided by
    their number, so that one learning rate suits both.
    """
    before_inputs_VD, before_outputs_VD, loss = inputs_VD.copy(), outputs_VD.copy(), 0.0
    for contexts_M, (rows_J, labels_J) in group:
        shares = {"mean": (1 / len(contexts_M), 1.0), "sum": (1.0, 1 / len(contexts_M))}
        forwards, backwards = shares[combine]
        X_1D = forwards * before_inputs_VD[contexts_M].sum(0, keepdims=True)
        to_X_1D, to_Y_JD, here = step(X_1D, before_outputs_VD[rows_J], labels_J)
        np.add.at(inputs_VD, contexts_M, rate * backwards * to_X_1D)
        np.add.at(outputs_VD, rows_J, rate * to_Y_JD)
        loss += here
    return loss, len(group)


def update_subwords(
    inputs: np.ndarray,
    outputs_VD: np.ndarray,
    bag: np.ndarray,
    contexts_M: np.ndarray,
    negatives_K: np.ndarray,
    times_K: np.ndarray,
    rate: float,
) -> tuple[float, int]:
    """Skip-gram from a word that is a bag of rows (Bojanowski et al. 2017): their mean predicts each context.

    Each pair of word and context is told apart from the same negatives, each so many times; one that stands in the
    window is left out. Every row of the bag receives the whole gradient of the mean, as in fastText's code.
    """
    M, apart_K = len(contexts_M), ~np.isin(negatives_K, contexts_M)
    rows_J = np.concatenate([contexts_M, negatives_K[apart_K]])
    labels_J = np.concatenate([np.ones(M), np.zeros(len(rows_J) - M)])
    times_J = np.concatenate([np.ones(M), M * times_K[apart_K]])
    to_X_1D, to_Y_JD, loss = step(inputs[bag].mean(0, keepdims=True), outputs_VD[rows_J], labels_J, times_J)
    np.add.at(inputs, bag, rate * to_X_1D)
    np.add.at(outputs_VD, rows_J, rate * to_Y_JD)
    return loss, M


def update_windows(
    update: Callable[..., tuple[float, int]],
    inputs_VD: np.ndarray,
    outputs_VD: np.ndarray,
    words: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    output: np.ndarray | Paths,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of the windows around words[0], words[1], …, group after group, updating both matrices.

    The contexts of words[i] are words[first[i]:last[i]] without itself. `output` is negatives [groups, K], and the
    windows of a group lie `groups` apart; or it is the paths of hierarchical softmax, and each window is a group. The
    rate falls linearly with the groups.
    """
    loss, pairs, n = 0.0, 0, len(words)
    groups = n if isinstance(output, Paths) else len(output)
    for g in range(groups):
        group: list[Window] = []
        for i in range(g, n, groups):
            contexts_M = np.array([words[j] for j in range(first[i], last[i]) if j != i], dtype=np.int64)
            if len(contexts_M):
                if isinstance(output, Paths):
                    group.append((contexts_M, path_targets(words[i], output)))
                else:
                    group.append((contexts_M, negative_targets(words[i], output[g])))
        rate = rate_begin + (rate_end - rate_begin) * g / groups
        here, more = update(inputs_VD, outputs_VD, group, rate)
        loss, pairs = loss + here, pairs + more
    return loss, pairs
