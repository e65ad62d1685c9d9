"""What checkpoints cost: the share of a run's wall time at the default interval, for masked_lm of some sizes.

    python benchmarks/checkpoints.py --sizes tiny mini small --steps 40

Steps with a checkpoint begun after every --every of them and steps without any take turns. What a checkpoint adds (the
training waits for the copy, and shares its cores with the thread that writes) is set against the interval that follows
it: SECONDS, or 1 / SHARE of the time that writing took, if that is longer. And what it takes to go on: the seconds
to the end of the first step of a run that starts, and of one that goes on after its millionth.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from sslcore.models.encoder import Encoder
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.training.checkpoints import SECONDS, SHARE, Checkpoints
from sslcore.training.learner import Learner
from sslcore.training.loop import START, Ahead, Begin, Curve, train


def corpus() -> EncodedCorpus:
    """Zipf's law and no more: what a step costs does not depend on what the words are."""
    generator = np.random.default_rng(0)
    words = generator.zipf(1.3, 400_000) % 20_000
    return EncodedCorpus.from_token_lists([[str(w) for w in text] for text in words.reshape(-1, 100)], minimum_count=1)


def learner_of(objective: MaskedLM, made_of: EncodedCorpus) -> Learner:
    network = objective.network(made_of.tokenizer, torch_generator(0))
    encoder = Encoder(made_of.tokenizer, network, objective.model_dump(), 0)
    return objective.learner(encoder, torch_generator(1), device="cpu", workers=2)


def seconds_of(learner: Learner, batches: object, steps: range, checkpoints: Checkpoints | None, every: int) -> float:
    started = time.perf_counter()
    for step in steps:
        learner.update(batches[step % len(batches)])  # type: ignore[index,arg-type]
        if checkpoints and step % every == 0:
            checkpoints.offer(learner, Begin(step + 1), Curve(), 0, now=True)
    if checkpoints:
        checkpoints.finish()
    return time.perf_counter() - started


def seconds_to_first_step(objective: MaskedLM, made_of: EncodedCorpus, step: int) -> float:
    """Of a run that begins, or that goes on at `step` from a checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        if step:
            keeping = Checkpoints(Path(folder))
            keeping.offer(learner_of(objective, made_of), Begin(step), Curve(), 0, now=True)
            keeping.finish()
        started = time.perf_counter()
        learner, batches = learner_of(objective, made_of), objective.batches(made_of, 0)
        found = Checkpoints(Path(folder)).read()
        if found:
            learner.restore(found.state)
        begin = found.begin if found else START
        assert next(train(learner, Ahead(batches, begin.step), begin))[0] == step + 1
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "mini", "small"])
    parser.add_argument("--steps", type=int, default=40, help="in a turn")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    made_of = corpus()
    for size in arguments.sizes:
        objective = MaskedLM(size=size)
        learner = learner_of(objective, made_of)
        batches = objective.batches(made_of, 0)
        with tempfile.TemporaryDirectory() as folder:
            seconds_of(learner, batches, range(3), None, 1)
            without, added, writing = [], [], []
            for run in range(arguments.runs):
                steps = range(run * arguments.steps, (run + 1) * arguments.steps)
                without.append(seconds_of(learner, batches, steps, None, 1))
                keeping = Checkpoints(Path(folder))
                kept = seconds_of(learner, batches, steps, keeping, arguments.every)
                added.append((kept - without[-1]) / len(steps[:: arguments.every]))
                started = time.perf_counter()
                keeping.offer(learner, Begin(steps[-1] + 1), Curve(), 0, now=True)
                keeping.finish()
                writing.append(time.perf_counter() - started)
            megabytes = sum(f.stat().st_size for f in Path(folder).glob("state-*")) / 2e6
        interval = max(SECONDS, statistics.median(writing) / SHARE)
        share = statistics.median(added) / interval
        print(
            f"{size}: {megabytes:,.0f} MB, writing {statistics.median(writing):.2f} s; a checkpoint adds "
            f"{statistics.median(added):.2f} s to steps of {statistics.median(without) / arguments.steps:.2f} s, "
            f"{100 * share:.2f} % of an interval of {interval:.0f} s",
            flush=True,
        )
        longer = objective.model_copy(update={"epochs": 2_000_000 // len(batches) * objective.epochs})
        first, late = (seconds_to_first_step(longer, made_of, step) for step in (0, 1_000_000))
        print(f"{size}: the first step ends after {first:.1f} s, the 1,000,001st after {late:.1f} s", flush=True)


if __name__ == "__main__":
    main()
