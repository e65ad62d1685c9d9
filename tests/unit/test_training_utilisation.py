"""MFU: the operations that are counted are those of the formula, and the share follows."""

import numpy as np
import pytest

from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.randomness import torch_generator
from sslcore.tokenization import EncodedCorpus
from sslcore.training.utilisation import peak_of, utilisation


def test_the_operations_of_a_step_are_six_for_each_weight_and_token_and_those_of_attention() -> None:
    draw = np.random.default_rng(0)
    lists = [[f"w{n}" for n in draw.integers(0, 400, 30)] for _ in range(40)]
    corpus = EncodedCorpus.from_token_lists(lists)
    objective = MaskedLM(size="tiny", maximum_tokens=32, batch_tokens=1000, masked_share=0.15)
    network = objective.network(corpus.tokenizer, torch_generator(0))
    learner = objective.learner(
        Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0),
        torch_generator(0),
        device="cpu",
        workers=1,
    )
    batch = objective.batches(corpus, 0)[0]
    assert learner.flops_per_token is None
    learner.counted(batch, 1e-3)
    assert learner.flops_per_token is not None
    layers = sum(p.numel() for name, p in network.named_parameters() if ".layer." in name and p.ndim == 2)
    width, framed = 128, len(batch.ids)
    asked = int((batch.targets >= 0).sum())  # only what is asked goes through the head and the vocabulary
    head = width * width + width * corpus.tokenizer.vocabulary_size
    attention = 3 * 2 * 4 * width * 32 * framed  # forward once, backward twice; two layers; two products of a row
    expected = 6 * layers * framed + 6 * head * asked + attention
    assert learner.flops_per_token * batch.tokens == pytest.approx(expected, rel=0.1)


def test_the_share_is_of_the_devices_peak() -> None:
    assert utilisation(6 * 110e6, 750_000, "NVIDIA H100 80GB HBM3", "bfloat16") == pytest.approx(0.5005, abs=1e-3)
    assert utilisation(6e8, 1e6, "NVIDIA A100-SXM4-80GB", "bfloat16", devices=2) == pytest.approx(0.96, abs=0.01)
    assert peak_of("NVIDIA H100 PCIe", "bfloat16") == 756e12
    assert peak_of("NVIDIA H100 80GB HBM3", "float32") == 67e12
    assert utilisation(1.0, 1.0, "a device of next year", "bfloat16") is None
