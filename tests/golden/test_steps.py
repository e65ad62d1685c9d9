"""What each step makes of one small text, beside its version: the numbers may move only together with the version.

Versions name artefacts. Were a step to compute something else under its old version, users would be handed old results
under a new meaning. When a change is meant: raise the step's VERSION in tasks/, then

    SSLCORE_WRITE_GOLDEN=1 pytest tests/golden
"""

import csv
import json
import os
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sslcore.corpus.ingestion import Ingestion, ingest
from sslcore.corpus.shards import Corpus
from sslcore.corpus.sources import FilesSource
from sslcore.evaluation import write_evaluation_report
from sslcore.evaluation.config import Evaluation
from sslcore.evaluation.report import EvaluationReport
from sslcore.finetuning import write_finetuned_model
from sslcore.finetuning.config import FineTuning
from sslcore.finetuning.rows import CorpusRows
from sslcore.finetuning.shapes.classification import Classification
from sslcore.models.encoder import Encoder
from sslcore.objectives.registry import DEFAULT_OBJECTIVES
from sslcore.tokenization import EncodedCorpus, Tokenizer, encode_corpus, write_tokenizer
from sslcore.tokenization.words import Words
from sslcore.training.pretraining import write_encoder
from tasks import evaluation, finetuning, ingestion, pretraining, tokenization

RECORD = Path(__file__).with_name("steps.json")
VERSIONS = {
    "ingest": ingestion.VERSION,
    "tokenize": tokenization.TOKENIZER_VERSION,
    "encode": tokenization.ENCODING_VERSION,
    **{f"pretrain {objective.kind}": pretraining.VERSION for objective in DEFAULT_OBJECTIVES},
    "evaluate": evaluation.VERSION,
    "fine-tune": finetuning.VERSION,
}
TOLERANCE = 0.02
"""Of trained numbers: processors add in different orders. Counts and checksums have none."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each step's numbers on 300 news items that gensim ships, labelled by whether they speak of Australia."""
    here = tmp_path_factory.mktemp("golden")
    spec = find_spec("gensim")
    assert spec is not None
    assert spec.submodule_search_locations
    news = Path(spec.submodule_search_locations[0]) / "test/test_data/lee_background.cor"
    lines = news.read_text(encoding="utf-8").splitlines()
    with (here / "news.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "about"])
        rows.writerows([line, "australia" if "ustralia" in line else "elsewhere"] for line in lines)

    def folder(name: str) -> Path:
        (here / name).mkdir()
        return here / name

    source = FilesSource(paths=(str(here / "news.csv"),), text="text", label="about")
    found: dict[str, dict[str, Any]] = {}
    found["ingest"] = ingest(Ingestion(source=source), folder("corpus"), workers=1)
    del found["ingest"]["seconds"]
    corpus = Corpus.open(here / "corpus")
    write_tokenizer(Words(minimum_count=2), corpus, folder("tokenizer"))
    tokenizer = Tokenizer.load(here / "tokenizer")
    found["tokenize"] = {
        "tokens": tokenizer.vocabulary_size,
        "checksum": zlib.crc32("\n".join(tokenizer.tokens).encode()),
    }
    encode_corpus(corpus, tokenizer, folder("encoded"))
    encoded = EncodedCorpus.open(here / "encoded")
    found["encode"] = {"tokens": encoded.tokens, "checksum": zlib.crc32(np.asarray(encoded.ids).tobytes())}
    encoders = {}
    for objective in DEFAULT_OBJECTIVES:
        metrics: list[Any] = []
        write_encoder(
            objective,
            encoded,
            folder(objective.kind),
            seed=0,
            workers=1,
            on_metrics=lambda _, m, to=metrics: to.append(m),
        )
        encoders[objective.kind] = Encoder.load(here / objective.kind)
        norm = float(np.linalg.norm(encoders[objective.kind].encode(lines[:50])))
        found[f"pretrain {objective.kind}"] = {"loss": metrics[-1]["loss"], "norm": norm}
    config = Evaluation(labels_per_class=(8, -1), seeds=(0, 1), minimum_test_rows=10)
    paid = dict.fromkeys(encoders, 0.0)
    write_evaluation_report(config, corpus, encoders, folder("report"), pretraining_seconds=paid, seed=0, workers=1)
    scores: dict[str, list[float]] = {"tfidf": [], "networks": []}
    for cell in EvaluationReport.load(here / "report").cells:
        scores["tfidf" if cell.contender.startswith("TF-IDF") else "networks"].append(cell.macro_f1)
    found["evaluate"] = {name: float(np.mean(values)) for name, values in scores.items()}
    model = write_finetuned_model(
        Classification(), FineTuning(), encoders["skip_gram"], CorpusRows(corpus), folder("model"), seed=0
    )
    found["fine-tune"] = {"validation_loss": model["validation"]["loss"]}
    if os.environ.get("SSLCORE_WRITE_GOLDEN"):
        record = {step: {"version": VERSIONS[step], "numbers": numbers} for step, numbers in found.items()}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return found


@pytest.mark.parametrize("step", VERSIONS)
def test_numbers_move_only_with_the_version(seen: dict[str, dict[str, Any]], step: str) -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))[step]
    if record["version"] != VERSIONS[step]:
        pytest.fail(f"{step} is at version {VERSIONS[step]}: write its new numbers, as the top of this file says")
    for name, before in record["numbers"].items():
        now = seen[step][name]
        same = (
            now == pytest.approx(before, rel=TOLERANCE, abs=TOLERANCE) if isinstance(before, float) else now == before
        )
        assert same, f"{step}: {name} was {before}, is {now}, and the version is still {record['version']}"
