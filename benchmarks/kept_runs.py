"""The runs of a benchmark in a file, a line of JSON each: what is there already is not run again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class KeptRuns:
    """Runs by set, contender and seed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        self._runs = {(line["set"], line["contender"], line["seed"]): line for line in map(json.loads, lines)}

    def run(self, name: str, contender: str, seed: int, scores: Callable[[], dict[str, float]]) -> None:
        """Take the scores, keep and print them, unless they are there."""
        if (name, contender, seed) in self._runs:
            return
        line: dict[str, Any] = {"set": name, "contender": contender, "seed": seed, **scores()}
        self._runs[name, contender, seed] = line
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)

    def values(self, name: str, contender: str, seeds: int, metric: str) -> np.ndarray:
        """float64 [seeds]"""
        return np.array([self._runs[name, contender, seed][metric] for seed in range(seeds)])
