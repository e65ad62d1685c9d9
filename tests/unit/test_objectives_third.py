"""A third objective is one new file and the registry's line: done here to a copy of the library, then used.

The objective is a toy (a word's vector learns to be the mean of its document's), but it goes through everything real:
pretrain, the file format, load, and the refusal of what it does not know.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import sslcore

NEW_FILE = """
from typing import Literal, NamedTuple
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

class Documents(NamedTuple):
    lists: list
    tokens: int
    begin: float
    end: float

class Averaging(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["averaging"] = "averaging"
    dimensions: int = Field(default=5, ge=1, description="Length of a vector.")

    def check(self, corpus, device):
        pass

    def network(self, tokenizer, generator):
        import torch
        from sslcore.models.word_vectors import WordVectors
        network = WordVectors(np.ones(tokenizer.vocabulary_size), self.dimensions)
        torch.nn.init.normal_(network.vectors, generator=generator)
        return network

    def batches(self, corpus, seed):
        bounds = corpus.document_offsets
        return [Documents([corpus.ids[a:b] for a, b in zip(bounds[:-1], bounds[1:])], corpus.tokens, 0.0, 1.0)]

    def learner(self, encoder, generator, *, device, workers):
        import torch
        from sslcore.training.learner import TorchLearner
        from sslcore.training.schedules import linear_decay
        class Loss(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.network = encoder.network
            def forward(self, batch):
                rows = [self.network.vectors[torch.from_numpy(ids).long()] for ids in batch.lists]
                return {"loss": sum(((r - r.mean(0)) ** 2).mean() for r in rows)}
        loss = Loss()
        optimizer = torch.optim.SGD(loss.parameters(), lr=1)
        return TorchLearner(encoder, loss, [optimizer], linear_decay(0.1, 0), threads=workers, seed=0)
"""

USE = """
import numpy as np, sslcore
from sslcore.objectives.registry import parse_objective
objective = parse_objective({"kind": "averaging", "dimensions": 6})
encoder = sslcore.pretrain(objective, [["a", "b", "c"] * 5, ["a", "c"] * 5], seed=0)
encoder.save("model")
loaded = sslcore.load("model")
assert np.array_equal(loaded.encode(["a b", "c"]), encoder.encode(["a b", "c"]))
assert loaded.objective == {"kind": "averaging", "dimensions": 6}
print("ok")
"""


def test_one_new_file_and_the_registry(tmp_path: Path) -> None:
    package = tmp_path / "sslcore"
    shutil.copytree(Path(sslcore.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "objectives" / "averaging.py").write_text(NEW_FILE)
    registry = package / "objectives" / "registry.py"
    text = registry.read_text()
    line = "AnyObjective = (\n"
    assert line in text
    named = f"from sslcore.objectives.averaging import Averaging\n\n{line}    Averaging\n    | "
    registry.write_text(text.replace(f"{line}    ", named))
    result = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "ok\n", result.stderr
