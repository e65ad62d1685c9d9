"""What Prefect and MLflow cost: the whole job by `sslcore run`, and the same calls of the library alone.

    python benchmarks/orchestration.py                       # the default job
    python benchmarks/orchestration.py configs/chinese_reviews.yaml --runs 3

Both sides run in fresh processes, one after the other, each from an empty folder, and both times are from the start of
the process to its end: server, imports, tracking and registration count as overhead.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIBRARY = """
import sys
from pathlib import Path
from flows.job import job_from_file
from sslcore.corpus.ingestion import ingest
from sslcore.corpus.shards import Corpus
from sslcore.evaluation import write_evaluation_report
from sslcore.evaluation.report import EvaluationReport
from sslcore.finetuning import write_finetuned_model
from sslcore.models.encoder import Encoder
from sslcore.tokenization import EncodedCorpus, Tokenizer, encode_corpus, write_tokenizer
from sslcore.training.pretraining import write_encoder

def folder(name):
    path = Path(sys.argv[2], name)
    path.mkdir(parents=True)
    return path

if __name__ == "__main__":
    job = job_from_file(sys.argv[1])
    corpus, tokenizer, encoded = folder("corpus"), folder("tokenizer"), folder("encoded")
    ingest(job.corpus, corpus)
    corpus = Corpus.open(corpus)
    write_tokenizer(job.tokenization, corpus, tokenizer)
    encode_corpus(corpus, Tokenizer.load(tokenizer), encoded)
    encoders = {}
    for objective in job.objectives:
        path = folder(objective.kind)
        write_encoder(objective, EncodedCorpus.open(encoded), path, seed=job.seed)
        encoders[objective.kind] = Encoder.load(path)
    report = folder("report")
    paid = dict.fromkeys(encoders, 0.0)
    write_evaluation_report(job.evaluation, corpus, encoders, report, pretraining_seconds=paid, seed=job.seed)
    encoder = encoders[EvaluationReport.load(report).chosen_encoder or next(iter(encoders))]
    write_finetuned_model(job.finetuning, encoder, corpus, folder("model"), seed=job.seed)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configuration", nargs="?", default="configs/installed_documentation.yaml")
    parser.add_argument("--runs", type=int, default=2)
    arguments = parser.parse_args()

    sslcore = Path(sys.executable).with_name("sslcore")
    seconds: dict[str, list[float]] = {"sslcore run": [], "library alone": []}
    for number in range(arguments.runs):
        with tempfile.TemporaryDirectory(prefix="orchestration-") as scratch:
            store, plain, program = Path(scratch, "store"), Path(scratch, "plain"), Path(scratch, "library.py")
            program.write_text(LIBRARY)
            both = {
                "sslcore run": [sslcore, "run", arguments.configuration, "--store", store, "--json"],
                "library alone": [sys.executable, program, arguments.configuration, plain],
            }
            for name in sorted(both, reverse=number % 2 == 1):  # neither is always the second
                seconds[name].append(timed(both[name]))
                print(f"run {number + 1}: {name} {seconds[name][-1]:.1f} s", flush=True)
            shutil.rmtree(store)
    flow, alone = (statistics.median(seconds[name]) for name in ("sslcore run", "library alone"))
    print(f"overhead {flow - alone:.1f} s, {(flow - alone) / flow:.1%} of the run (medians of {arguments.runs})")


def timed(command: list[object]) -> float:
    started = time.perf_counter()
    subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
