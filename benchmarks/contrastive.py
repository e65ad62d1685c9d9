"""SimCSE and TSDAE here and in sentence-transformers, in turns in one process: the same sentences, sizes and batches.

    python benchmarks/contrastive.py --brown brown.zip
    python benchmarks/contrastive.py --brown FILE --size tiny --sentences 4000 --runs 5 --memory

Theirs is SentenceTransformerTrainer, which also wants `datasets` and `accelerate`: MultipleNegativesRankingLoss on
pairs (s, s), DenoisingAutoEncoderLoss on texts without 60 % of their words. Weights are random, attention has no
dropout (its CPU kernel knows none), states have 0.1; float32. A time is that of a whole `pretrain` on encoded
sentences, and of `trainer.train()` on texts that it tokenises, model and trainer being there. CPU seconds are of all
threads and steadier than the clock on a shared machine. Tokens
are those of the sentences, without frames or padding. Memory is by how much a fresh process grows at most, from when
the libraries of both and the sentences are there to when a model has been made and trained.
"""

import argparse
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import sslcore
from sslcore.objectives.sentence_objective import SentenceObjective
from sslcore.tokenization.encoding import EncodedCorpus

OURS: dict[str, type[SentenceObjective]] = {"sim_cse": sslcore.SimCSE, "tsdae": sslcore.TSDAE}
LONGEST = 64


Prepare = Callable[[], Callable[[], Any]]  # makes what is timed


class Setting(NamedTuple):
    lists: list[list[str]]
    size: Any
    batch_size: int


def brown(file: Path, sentences: int) -> list[list[str]]:
    """Sentences of letters and digits in small letters: both libraries cut them into the same words."""
    found: list[list[str]] = []
    with zipfile.ZipFile(file) as archive:
        for name in sorted(n for n in archive.namelist() if Path(n).name[:1] == "c" and len(Path(n).name) == 4):
            for line in archive.read(name).decode("latin-1").splitlines():
                words = [token.rsplit("/", 1)[0].lower() for token in line.split()]
                words = [word for word in words if word.isascii() and word.isalnum()]
                if 3 <= len(words) <= LONGEST - 2:
                    found.append(words)
    order = np.random.default_rng(0).permutation(len(found))[:sentences]
    return [found[i] for i in order]


def ours(kind: str, setting: Setting) -> Prepare:
    objective = OURS[kind](size=setting.size, batch_size=setting.batch_size, maximum_tokens=LONGEST, epochs=1)
    corpus = EncodedCorpus.from_token_lists(setting.lists, minimum_count=1)
    objective.network(corpus.tokenizer, torch.Generator())  # what pretrain imports is there before the clock runs
    return lambda: lambda: sslcore.pretrain(objective, corpus, seed=0)  # type: ignore[arg-type]


def theirs(kind: str, setting: Setting) -> Prepare:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer import losses
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertModel, BertTokenizerFast

    objective = OURS[kind](size=setting.size, maximum_tokens=LONGEST)
    corpus = EncodedCorpus.from_token_lists(setting.lists, minimum_count=1)
    network = objective.network(corpus.tokenizer, torch.Generator().manual_seed(0))
    folder = Path(tempfile.mkdtemp(prefix="contrastive-"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *corpus.tokenizer.tokens[len(special) :]]))
    BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=LONGEST).save_pretrained(folder)
    config = type(network.model.config)(**network.model.config.to_dict())
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    texts = [" ".join(words) for words in setting.lists]
    data = Dataset.from_dict({"anchor": texts, "positive": texts})
    generator = np.random.default_rng(0)

    def damaged(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        kept = [[w for w in text.split() if generator.random() > 0.6] for text in batch["positive"]]
        left = [" ".join(k or text.split()[:1]) for k, text in zip(kept, batch["positive"], strict=True)]
        return {"anchor": left, "positive": batch["positive"]}

    if kind == "tsdae":
        data.set_transform(damaged)

    def prepare() -> Callable[[], Any]:
        model = SentenceTransformer(modules=[Transformer(str(folder)), Pooling(config.hidden_size)], device="cpu")
        loss = (
            losses.MultipleNegativesRankingLoss(model) if kind == "sim_cse" else losses.DenoisingAutoEncoderLoss(model)
        )
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(folder / "out"),
            num_train_epochs=1,
            per_device_train_batch_size=setting.batch_size,
            learning_rate=objective.peak_rate,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        return SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train

    return prepare


CONTENDERS = {"sslcore": ours, "sentence-transformers": theirs}


def of_process(field: str) -> int:
    """Bytes, of a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def memory(name: str, kind: str, setting: Setting) -> float:
    """MB by which this process grows to its highest. getrusage would tell the highest of the process before it too."""
    prepare = {contender: make(kind, setting) for contender, make in CONTENDERS.items()}[name]
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = of_process("VmRSS")
    prepare()()
    return (of_process("VmHWM") - before) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brown", type=Path, required=True)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--cases", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--memory", action="store_true")
    said = parser.parse_args()
    setting = Setting(brown(said.brown, said.sentences), said.size, said.batch_size)
    tokens = sum(map(len, setting.lists))
    words = len({word for words in setting.lists for word in words})
    print(
        f"{len(setting.lists):,} sentences, {tokens:,} tokens, {words:,} words; {said.size}, "
        f"batches of {said.batch_size}"
    )
    for kind in said.cases:
        trains = {name: make(kind, setting) for name, make in CONTENDERS.items()}
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in trains}
        for run in range(said.runs + 1):  # the first warms up and does not count
            for name, prepare in trains.items():
                train = prepare()
                clock, cpu = time.perf_counter(), time.process_time()
                train()
                if run:
                    times[name].append((time.perf_counter() - clock, time.process_time() - cpu))
        medians = {n: tuple(statistics.median(x) for x in zip(*t, strict=True)) for n, t in times.items()}
        for name, (clock, cpu) in medians.items():
            line = f"{kind:8} {name:22} {clock:7.2f} s, {cpu:7.2f} CPU s, {tokens / clock:8,.0f} tokens/s"
            if said.memory:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                    line += f", peak + {alone.submit(memory, name, kind, setting).result():,.0f} MB"
            print(line, flush=True)
        by = [b / a for a, b in zip(*medians.values(), strict=True)]
        print(f"{kind:8} {by[0]:.2f} times as fast by the clock, {by[1]:.2f} by CPU seconds", flush=True)


if __name__ == "__main__":
    main()
