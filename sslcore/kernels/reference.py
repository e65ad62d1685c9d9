"""Skip-gram with negative sampling in plain numpy: slow, obvious, and what the fast kernels are checked against.

Mikolov, Sutskever, Chen, Corrado, Dean 2013, "Distributed Representations of Words and Phrases and their
Compositionality": equation 4 is the loss of one pair, equation 5 the subsampling (here in the form of the authors'
code), section 2.2 the noise distribution counts^0.75; the dynamic window is Mikolov et al. 2013a, section 3.2. The
negatives of a window are shared by its contexts (Ji et al. 2016, "Parallelizing Word2Vec in Shared and Distributed
Memory"), so a window is a few small matrix products.

Letters: V words, D dimensions, K negatives, M contexts of one window.
"""

import numpy as np

NOISE_EXPONENT = 0.75


def keep_probabilities(counts: np.ndarray, threshold: float) -> np.ndarray:
    """float64 [V]: how likely an occurrence of each word stays, sqrt(t/f) + t/f of word2vec.c; 1 when threshold is 0.

    Words that never occur (special tokens) get 0: they are no words and never enter a window.
    """
    frequencies = counts / max(1, counts.sum())
    if threshold == 0:
        return (counts > 0).astype(np.float64)
    ratio = np.divide(threshold, frequencies, out=np.zeros(len(counts)), where=frequencies > 0)
    return np.minimum(1.0, np.sqrt(ratio) + ratio)


def noise_distribution(counts: np.ndarray) -> np.ndarray:
    """float64 [V], sums to 1: the probability of each word as a negative, counts^0.75."""
    weights = counts.astype(np.float64) ** NOISE_EXPONENT
    return weights / weights.sum()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def update_window(
    inputs_VD: np.ndarray,
    outputs_VD: np.ndarray,
    center: int,
    contexts_M: np.ndarray,
    negatives_K: np.ndarray,
    learning_rate: float,
) -> float:
    """One step of gradient descent on both matrices, in place; the loss of the window's M pairs (nats) before it.

    A negative that happens to be the center is left out, as word2vec.c does. Every product is taken with the values
    from before the window; a row that occurs twice receives both its gradients.
    """
    targets_J = np.array([center, *(n for n in negatives_K if n != center)])
    labels_J = np.array([1.0] + [0.0] * (len(targets_J) - 1))
    X_MD, Y_JD = inputs_VD[contexts_M].copy(), outputs_VD[targets_J].copy()
    probabilities_MJ = sigmoid(X_MD @ Y_JD.T)
    errors_MJ = labels_J - probabilities_MJ
    np.add.at(inputs_VD, contexts_M, learning_rate * errors_MJ @ Y_JD)
    np.add.at(outputs_VD, targets_J, learning_rate * errors_MJ.T @ X_MD)
    return -float(np.log(np.where(labels_J == 1, probabilities_MJ, 1 - probabilities_MJ)).sum())


def update_windows(
    inputs_VD: np.ndarray,
    outputs_VD: np.ndarray,
    words: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    negatives: np.ndarray,
    rate_begin: float,
    rate_end: float,
) -> tuple[float, int]:
    """(loss in nats, pairs) of the windows around words[0], words[1], …, each updating both matrices in place.

    The contexts of words[i] are words[first[i]:last[i]] without itself; the rate falls linearly from begin to end.
    """
    loss, pairs = 0.0, 0
    for i, center in enumerate(words):
        contexts_M = np.array([words[j] for j in range(first[i], last[i]) if j != i], dtype=np.int64)
        if len(contexts_M):
            rate = rate_begin + (rate_end - rate_begin) * i / len(words)
            loss += update_window(inputs_VD, outputs_VD, int(center), contexts_M, negatives[i], rate)
            pairs += len(contexts_M)
    return loss, pairs
