"""Masked-LM pretraining against Hugging Face's Trainer with run_mlm's collation: real tokens a second, and memory.

    python benchmarks/masked_lm.py --text FILE --size mini --runs 3

FILE is JSON lines with a field `text`, plain or .zst: its paragraphs are the texts, of whatever length they have, as
with run_mlm's --line_by_line. Both train the same BERT from scratch with the same tokenizer, precision, length limit
and optimiser, in the same process, in turns; the trainer's batches hold as many real tokens as ours on average. Padding
does not count as tokens. Memory is by how much a fresh process grows at most (--memory), from when the libraries of
both and the texts are there to when a model has been made and trained.
"""

import argparse
import copy
import io
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
)

import sslcore
from sslcore.objectives.masked_lm import MaskedLM
from sslcore.randomness import torch_generator
from sslcore.tokenization.encoding import EncodedCorpus
from sslcore.tokenization.tokenizer import Tokenizer, fit_tokenizer
from sslcore.tokenization.word_piece import WordPiece


def paragraphs(path: Path, characters: int) -> list[str]:
    def lines() -> Iterator[str]:
        if path.suffix != ".zst":
            yield from path.open(encoding="utf-8")
            return
        import zstandard

        with path.open("rb") as file:
            yield from io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8")

    found, size = [], 0
    for paragraph in itertools.chain.from_iterable(json.loads(line)["text"].split("\n") for line in lines()):
        if len(paragraph) > 20:
            found.append(paragraph)
            size += len(paragraph)
            if size > characters:
                break
    return found


def ours(objective: MaskedLM, corpus: EncodedCorpus) -> int:
    sslcore.pretrain(objective, corpus, seed=0)
    return corpus.tokens


def theirs(objective: MaskedLM, corpus: EncodedCorpus, folder: str) -> int:
    names = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=corpus.tokenizer.huggingface(), **names)
    limit = objective.maximum_tokens - 2
    bounds = corpus.document_offsets
    texts = [corpus.ids[a : min(a + limit, b)] for a, b in itertools.pairwise(bounds.tolist())]
    rows = [{"input_ids": np.concatenate([[2], text, [3]]).tolist()} for text in texts]
    tokens = sum(len(text) for text in texts)
    config = copy.deepcopy(objective.network(corpus.tokenizer, torch_generator(0)).model.config)
    model = BertForMaskedLM(config)
    model.set_attn_implementation("sdpa")
    arguments = TrainingArguments(
        output_dir=folder,
        per_device_train_batch_size=max(1, round(objective.batch_tokens / (tokens / len(texts)))),
        num_train_epochs=objective.epochs,
        learning_rate=objective.peak_rate,
        weight_decay=objective.weight_decay,
        optim="adamw_torch_fused",
        warmup_steps=10,
        max_grad_norm=objective.gradient_norm,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        logging_strategy="no",
        bf16=objective.precision == "bfloat16",
        dataloader_num_workers=0,
    )
    collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=objective.masked_share)
    Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collator).train()
    return tokens


def of_process(field: str) -> int:
    """Kilobytes, of a line of /proc/self/status."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--size", default="mini")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--memory", choices=["sslcore", "Trainer"], help="print the peak of one run of this one alone")
    arguments = parser.parse_args()
    texts = paragraphs(arguments.text, arguments.characters)
    tokenizer: Tokenizer = fit_tokenizer(WordPiece(), texts)
    objective = MaskedLM(size=arguments.size, epochs=1, precision=arguments.precision)
    ids, offsets = tokenizer.encode_batch(texts)
    # Both see the same tokens of each text: no more than fit.
    lengths = np.minimum(np.diff(offsets), objective.maximum_tokens - 2)
    ids = np.concatenate([ids[a : a + n] for a, n in zip(offsets[:-1], lengths, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    corpus = EncodedCorpus(ids, offsets, offsets, tokenizer)
    folder = tempfile.mkdtemp()
    contenders: dict[str, Any] = {
        "Trainer": lambda: theirs(objective, corpus, folder),
        "sslcore": lambda: ours(objective, corpus),
    }
    if arguments.memory:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = of_process("VmRSS")
        contenders[arguments.memory]()
        print(f"grown by {(of_process('VmHWM') - before) / 1024:.0f} MB")
        return
    print(
        f"{len(texts):,} paragraphs, {corpus.tokens:,} tokens, {corpus.tokens / len(texts):.0f} a text; BERT "
        f"{arguments.size}, {arguments.precision}, at most {objective.maximum_tokens} tokens, "
        f"{torch.get_num_threads()} threads"
    )
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.runs):
        for name, train in contenders.items():
            started = time.perf_counter()
            tokens = train()
            speeds[name].append(tokens / (time.perf_counter() - started))
            print(f"{name:8s} {speeds[name][-1]:,.0f} tokens/s", flush=True)
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    print(f"median {medians}, ratio {medians['sslcore'] / medians['Trainer']:.2f}")
    for name in contenders:
        command = [sys.executable, __file__, *sys.argv[1:], "--memory", name]
        print(name, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[-2])


if __name__ == "__main__":
    main()
