"""One step alone: corpus → tokenizer."""

from prefect import flow

from sslcore.artifacts import Ref
from sslcore.tokenization.registry import Tokenization
from sslcore.tokenization.words import Words
from tasks import inputs
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.tokenization import tokenize
from tasks.tracking import DEFAULT_EXPERIMENT


@flow(name="tokenization", **HOOKS)
def tokenization(corpus: str, tokenization: Tokenization = Words()) -> Ref:
    """Fit a tokenizer on the training split of a corpus.

    Args:
        corpus: Key of a corpus in the store, or a path of text.
        tokenization: How text becomes ids.
    """
    open_flow_run(DEFAULT_EXPERIMENT, {"corpus": corpus, **tokenization.model_dump(mode="json")})
    return tokenize(tokenization, inputs.corpus(corpus))
