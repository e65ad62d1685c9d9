"""torch.compile beside eager in masked-LM pretraining: seconds of a step in turns, and what the first steps cost.

    python benchmarks/compiling.py --text FILE --size mini --steps 40

FILE is as for masked_lm.py. Compiled is what a layer does token by token after attention: dense layers, GELU, dropout
and norm. Attention, whose groups of one length are others in every batch, would be compiled anew for each number of
groups. Batches have different numbers of tokens, so shapes are dynamic. Both begin with the same weights and see the
same batches, a step each in turn; the first half of the steps is not counted.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from masked_lm import paragraphs

from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.word_piece import WordPiece
from sslcore.training.learner import TorchLearner

WAYS = ("eager", "compiled")


def learner(objective: MaskedLM, corpus: EncodedCorpus, way: str, device: str) -> TorchLearner:
    network = objective.network(corpus.tokenizer, torch_generator(0, "network"))
    encoder = Encoder(corpus.tokenizer, network, objective.model_dump(mode="json"), 0)
    made = objective.learner(encoder, torch_generator(0, "learner"), device=device, workers=torch.get_num_threads())
    if way == "compiled":
        for layer in made.encoder.network.layers:
            layer.intermediate.compile(dynamic=True)
            layer.output.compile(dynamic=True)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    texts = paragraphs(arguments.text, arguments.characters)
    tokenizer = fit_tokenizer(WordPiece(), texts)
    ids, offsets = tokenizer.encode_batch(texts)
    objective = MaskedLM(size=arguments.size, precision=arguments.precision, epochs=100)
    corpus = EncodedCorpus(ids, offsets, offsets, tokenizer)
    batches = objective.batches(corpus, 0)
    learners = {way: learner(objective, corpus, way, arguments.device) for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    losses: dict[str, float] = {}
    for step in range(arguments.steps):
        for way, made in learners.items():
            started = time.perf_counter()
            losses[way] = made.update(batches[step])["loss"]  # a number: the device is waited for
            seconds[way].append(time.perf_counter() - started)
    counted = arguments.steps // 2
    usual = statistics.median(seconds["eager"][counted:])
    print(f"BERT {arguments.size}, {arguments.precision}, {objective.batch_tokens:,} tokens a step, {arguments.device}")
    for way, found in seconds.items():
        middle = statistics.median(found[counted:])
        first = np.sum(found[:counted]) - counted * middle
        print(
            f"{way:13s} {middle * 1e3:7.1f} ms a step, {usual / middle:.2f} times as fast, {first:.1f} s more for the "
            f"first {counted} steps, loss {losses[way]:.4f}"
        )


if __name__ == "__main__":
    main()
