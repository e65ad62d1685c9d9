"""sslcore is a library of its own: no prefect, no mlflow, and light until something is used."""

import subprocess
import sys
from pathlib import Path

BLOCK = """
import importlib.abc, sys
class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"prefect", "mlflow", "tasks", "flows"}:
            raise ImportError(f"{name} is blocked: sslcore must not need it")
sys.meta_path.insert(0, Blocked())
"""

WHOLE_LIBRARY = """
import numpy as np
import sslcore
sentences = [["the", "cat", "sat"], ["the", "dog", "sat", "down"], ["a", "cat", "and", "a", "dog"]] * 20
for objective in (sslcore.SkipGram(dimensions=8, epochs=1), sslcore.DenoisingAutoencoder(dimensions=8, epochs=1)):
    encoder = sslcore.pretrain(objective, (list(s) for s in sentences), seed=1, device="cpu", workers=1)
    vectors = encoder.encode(["the cat", "a dog", ""])
    assert vectors.shape == (3, 8) and vectors.dtype == np.float32 and not vectors[2].any()
    encoder.save(objective.kind)
    assert np.array_equal(sslcore.load(objective.kind).encode(["the cat", "a dog", ""]), vectors)
keyed = sslcore.load("skip_gram").to_keyed_vectors()
assert keyed["cat"].shape == (8,) and "[UNK]" not in keyed
try:
    sslcore.load("denoising_autoencoder").to_keyed_vectors()
except sslcore.UserError as error:
    print("done:", error)
"""


def run(code: str, folder: Path) -> str:
    result = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_pretrain_save_load_encode_without_prefect_and_mlflow(tmp_path: Path) -> None:
    assert run(BLOCK + WHOLE_LIBRARY, tmp_path).startswith("done:")


def test_importing_the_library_and_its_registry_loads_nothing_heavy(tmp_path: Path) -> None:
    """The command line reads the objectives' fields on every start."""
    heavy = run(
        "import sys, sslcore, sslcore.objectives.registry\n"
        "print([m for m in ('torch', 'numba', 'pandas', 'sklearn', 'gensim', 'scipy', 'pyarrow') if m in sys.modules])",
        tmp_path,
    )
    assert heavy.strip() == "[]"


def test_every_public_name_is_there_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    code = (
        "import sslcore\nassert all(getattr(sslcore, name) for name in sslcore.__all__)\n"
        "assert set(sslcore.__all__) <= set(dir(sslcore))\n"
        "assert not hasattr(sslcore, 'Word2Vec')"
    )
    run(code, tmp_path)
