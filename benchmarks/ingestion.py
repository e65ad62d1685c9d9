"""Ingestion of plain text: megabytes per second and peak memory, ours and datatrove's, on the same documents.

    python benchmarks/ingestion.py ../shared/data/corpora/en_wikipedia
    python benchmarks/ingestion.py CORPUS --megabytes 200 2000 --runs 3 --datatrove /path/to/venv/bin/python

The text is made from the corpus given: its sentences, shuffled across documents by a seed, in paragraphs of 4 to 60,
one paragraph a line, of which 2 % come again as they are and 2 % with a sentence changed. datatrove has no reader
for plain text, so it reads the same paragraphs as JSON lines. It runs its Gopher filters and MinHash with default
settings (14 buckets of 8) and as many workers; language identification is left out on its side, as its model is a
download.
Memory is the resident memory of all processes of a run, summed, sampled ten times a second.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from sslcore.randomness import numpy_generator

FILES = 4
POOL_CHARACTERS = 200_000_000
OURS = """
import sys
from pathlib import Path
from sslcore.corpus.ingestion import Ingestion, ingest
from sslcore.corpus.sources import FilesSource

if __name__ == "__main__":
    folder, result, workers = sys.argv[1:]
    config = Ingestion(source=FilesSource(paths=(folder + "/*.txt",), document="line"))
    summary = ingest(config, Path(result), workers=int(workers))
    print(summary["documents"])
"""
DATATROVE = """
import sys
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter

if __name__ == "__main__":
    folder, result, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    files = len(list(Path(folder).glob("*.jsonl")))

    def run(tasks, *steps):
        logs = f"{result}/logs/{type(steps[-1]).__name__}"
        LocalPipelineExecutor(list(steps), tasks=tasks, workers=workers, start_method="spawn", logging_dir=logs).run()

    run(files, JsonlReader(folder, glob_pattern="*.jsonl"), GopherRepetitionFilter(), GopherQualityFilter(),
        JsonlWriter(f"{result}/filtered", compression=None), MinhashDedupSignature(f"{result}/signatures"))
    run(14, MinhashDedupBuckets(f"{result}/signatures", f"{result}/buckets"))
    run(1, MinhashDedupCluster(f"{result}/buckets", f"{result}/remove"))
    run(files, JsonlReader(f"{result}/filtered", glob_pattern="*.jsonl"), MinhashDedupFilter(f"{result}/remove"),
        JsonlWriter(f"{result}/kept", compression=None))
    print(sum(sum(1 for _ in path.open()) for path in Path(result, "kept").glob("*.jsonl")))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="files or a folder of real text")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[200])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--datatrove", help="an interpreter that has datatrove[io,processing] and spacy")
    parser.add_argument(
        "--scratch", type=Path, help="where text and results go meanwhile; default: the temporary folder"
    )
    parser.add_argument("--output", type=Path, default=Path("ingestion.json"))
    arguments = parser.parse_args()

    scratch = Path(tempfile.mkdtemp(prefix="ingestion-benchmark-", dir=arguments.scratch))
    rows = []
    try:
        for megabytes in arguments.megabytes:
            text = scratch / f"text-{megabytes}"
            size = write_text(arguments.corpus, megabytes * 1_000_000, text)
            contenders = {"sslcore": (sys.executable, OURS)}
            if arguments.datatrove:
                contenders["datatrove"] = (arguments.datatrove, DATATROVE)
            for name, (interpreter, script) in contenders.items():
                runs = [
                    measure(interpreter, script, text, scratch / "out", arguments.workers)
                    for _ in range(arguments.runs)
                ]
                rows.append(row(name, megabytes, size, arguments.workers, runs))
                print_table(rows[-1:], header=len(rows) == 1)
            shutil.rmtree(text)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    arguments.output.write_text(json.dumps(rows, indent=1) + "\n")


def write_text(corpus: str, size: int, folder: Path) -> int:
    """Write about `size` bytes of paragraphs, as txt and as jsonl, over a few files; return the bytes of the txt."""
    folder.mkdir()
    written = 0
    stream = paragraphs(sentences(corpus))
    for number in range(FILES):
        with (folder / f"{number}.txt").open("w") as plain, (folder / f"{number}.jsonl").open("w") as lines:
            while written < size * (number + 1) // FILES:
                paragraph = next(stream)
                plain.write(paragraph + "\n")
                lines.write(json.dumps({"text": paragraph, "id": str(written)}, ensure_ascii=False) + "\n")
                written += len(paragraph.encode()) + 1
    return written


def sentences(corpus: str) -> list[str]:
    from sslcore.corpus.characters import codes_of
    from sslcore.corpus.cleaning import clean
    from sslcore.corpus.raw import RawDocument
    from sslcore.corpus.sentences import sentences_of
    from sslcore.corpus.sources import FilesSource, raw_files, read_documents

    source = FilesSource(paths=(corpus,))
    pool: list[str] = []
    characters = 0
    for file in raw_files(source):
        for document in read_documents(source, file):
            if not isinstance(document, RawDocument) or len(document.text) < 500 or characters > POOL_CHARACTERS:
                continue
            text = clean(document.text)
            found = sentences_of(codes_of([text]))
            pool += [
                text[start:end].replace("\n", " ")
                for start, end in zip(found.starts, found.ends, strict=True)
                if end - start > 20
            ]
            characters += len(text)
    return pool


def paragraphs(pool: list[str]) -> Iterator[str]:
    generator = numpy_generator(0, "benchmark text")
    recent: list[list[str]] = []
    while True:
        kind = generator.random()
        if kind < 0.04 and recent:
            chosen = list(recent[int(generator.integers(len(recent)))])
            if kind < 0.02:
                chosen[-1] = pool[int(generator.integers(len(pool)))]
        else:
            chosen = [pool[i] for i in generator.integers(0, len(pool), int(generator.integers(4, 61)))]
            recent = [*recent[-999:], chosen]
        yield " ".join(chosen)


def measure(interpreter: str, script: str, text: Path, out: Path, workers: int) -> dict[str, Any]:
    """Run the script in fresh processes; wall and processor seconds, peak memory, documents kept."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    program = out.with_suffix(".py")
    program.write_text(script)
    started = time.perf_counter()
    process = psutil.Popen(
        [interpreter, str(program), str(text), str(out), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},  # datatrove would wait for a hub that it does not need
    )
    summed = largest = 0
    seconds: dict[int, float] = {}
    while process.poll() is None:
        sizes = []
        for one in [process, *children(process)]:
            try:
                sizes.append(one.memory_info().rss)
                seconds[one.pid] = sum(one.cpu_times()[:2])
            except psutil.Error:  # it ended in between
                continue
        summed, largest = max(summed, sum(sizes)), max(largest, *sizes, 0)
        time.sleep(0.1)
    wall = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"{interpreter} {program} failed with {process.returncode}; run it by hand to see why")
    assert process.stdout is not None
    documents = int(process.stdout.read().split()[-1])
    shutil.rmtree(out)
    return {
        "wall": wall,
        "cpu": sum(seconds.values()),
        "peak_mb": summed / 1e6,
        "largest_mb": largest / 1e6,
        "kept": documents,
    }


def children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def row(name: str, megabytes: int, size: int, workers: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    medians = {key: round(statistics.median(run[key] for run in runs), 1) for key in runs[0]}
    return {
        "who": name,
        "megabytes": megabytes,
        "workers": workers,
        "runs": len(runs),
        **medians,
        "mb_per_second": round(size / 1e6 / medians["wall"], 2),
        "mb_per_cpu_second": round(size / 1e6 / medians["cpu"], 2),
    }


def print_table(rows: list[dict[str, Any]], *, header: bool) -> None:
    if header:
        print("".join(f"{key:>18}" for key in rows[0]))
    for one in rows:
        print("".join(f"{value:>18}" for value in one.values()), flush=True)


if __name__ == "__main__":
    main()
