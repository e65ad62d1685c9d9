"""A public checkpoint of Hugging Face as an encoder: its architecture, its weights, its tokenizer and its pooling."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from sslcore.errors import UserError
from sslcore.huggingface import folder_of
from sslcore.models.architecture import BIDIRECTIONAL, CAUSAL, KINDS, architecture_of, first_position
from sslcore.models.encoder import Encoder
from sslcore.models.transformer import Pooling
from sslcore.progress import Progress

HEADS = {  # the head of masked language modelling: names in the checkpoint → ours
    "cls.predictions.transform.dense.": "transform.dense.",
    "cls.predictions.transform.LayerNorm.": "transform.LayerNorm.",
    "cls.predictions.": "",
    "lm_head.dense.": "transform.dense.",
    "lm_head.layer_norm.": "transform.LayerNorm.",
    "lm_head.": "",
    "generator_predictions.dense.": "transform.dense.",  # ELECTRA's generator
    "generator_predictions.LayerNorm.": "transform.LayerNorm.",
    "generator_lm_head.": "",
    "vocab_transform.": "transform.dense.",  # DistilBERT
    "vocab_layer_norm.": "transform.LayerNorm.",
    "vocab_projector.": "",
    "head.dense.": "transform.dense.",  # ModernBERT, of which two biases are none
    "head.norm.": "transform.LayerNorm.",
    "decoder.": "",
    "predictions.dense.": "transform.dense.",  # ALBERT
    "predictions.LayerNorm.": "transform.LayerNorm.",
    "predictions.": "",
}
HEAD = {f"transform.{part}.{name}" for part in ("dense", "LayerNorm") for name in ("weight", "bias")} | {"bias"}

log = logging.getLogger("sslcore.models")


def encoder_of(checkpoint: str | Path, pooling: Pooling | None, progress: Progress) -> Encoder:
    """See `Encoder.from_huggingface`."""
    from sslcore.objectives.causal_lm import CausalLM
    from sslcore.objectives.masked_lm import MaskedLM
    from sslcore.tokenization.pretrained import Pretrained, unfitted
    from sslcore.tokenization.tokenizer import Tokenizer

    folder = folder_of(checkpoint)
    config = _config(folder, checkpoint)
    model, missing = _model(folder, checkpoint, config)
    base = model.base_model
    names = [name for name, _ in base.named_parameters()]
    unloaded = sorted(name for name in names if name in missing or f"{model.base_model_prefix}.{name}" in missing)
    if len(unloaded) == len(names):
        raise UserError(
            f"none of the {len(names)} tensors of a {config.model_type} model is in {checkpoint}: its weights are of "
            "another kind of model, and training would begin at random"
        )
    tokenizer = Tokenizer(Pretrained(checkpoint=str(checkpoint)), *unfitted(str(folder)))
    kind = CausalLM if config.model_type in CAUSAL else MaskedLM
    fields: dict[str, Any] = {"architecture": architecture_of(config), "pooling": pooling or _pooling(folder)}
    longest = int(config.max_position_embeddings) - first_position(config)
    objective = kind(**fields, maximum_tokens=longest, batch_tokens=max(longest, 8192))
    network = objective.network(tokenizer, torch.Generator().manual_seed(0))
    network.model.load_state_dict(base.state_dict())
    encoder = Encoder(tokenizer, network, objective.model_dump(mode="json"), seed=0)
    encoder.heads = {} if config.model_type in CAUSAL else _head(model, missing)
    for name in unloaded:
        log.warning("%s has no tensor %s: it starts at random", checkpoint, name)
    head = "as the checkpoint has it" if encoder.heads or config.model_type in CAUSAL else "not there: starts at random"
    taken_up = f"{len(names) - len(unloaded)} of {len(names)} tensors taken up; pretext head {head}"
    log.info("%s: %s", checkpoint, taken_up)
    progress(1.0, taken_up)
    return encoder


def _config(folder: Path, checkpoint: str | Path) -> Any:
    from transformers import AutoConfig

    unreadable = f"{checkpoint} has no readable config.json"
    try:
        kind = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{unreadable}: {error}") from error
    if kind not in KINDS:
        raise UserError(
            f"{checkpoint} is a model of kind {kind!r}; training can go on from {', '.join(BIDIRECTIONAL)} and "
            f"{', '.join(CAUSAL)}"
        )
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{unreadable}: {error}") from error


def _model(folder: Path, checkpoint: str | Path, config: Any) -> tuple[Any, set[str]]:
    """The model with its head, and the names of the tensors that are not in the checkpoint."""
    from transformers import AutoModel, AutoModelForMaskedLM
    from transformers.utils import logging as loading

    said = loading.get_verbosity()
    loading.set_verbosity_error()  # what is missing is for us to say
    loading.disable_progress_bar()
    try:
        model, report = (AutoModel if config.model_type in CAUSAL else AutoModelForMaskedLM).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"the weights of {checkpoint} cannot be read: {' '.join(str(error).split())[:300]}. They are read from "
            "safetensors alone, never from pickle (.bin, .pt), because loading those runs whatever code they hold"
        ) from error
    finally:
        loading.set_verbosity(said)
        loading.enable_progress_bar()
    return model, set(report["missing_keys"])


def _head(model: Any, missing: set[str]) -> dict[str, torch.Tensor]:
    """The tensors of the head of masked language modelling, unless one is missing."""
    found, theirs = {}, model.state_dict()
    for name, tensor in theirs.items():
        prefix = next((prefix for prefix in HEADS if name.startswith(prefix)), None)
        if prefix is not None and name not in missing:
            ours = HEADS[prefix] + name.removeprefix(prefix)
            found[ours] = tensor
            if name.endswith("weight") and name.removesuffix("weight") + "bias" not in theirs:
                found[ours.removesuffix("weight") + "bias"] = torch.zeros(len(tensor))
    return {f"masked_lm.{name}": found[name] for name in HEAD} if found.keys() >= HEAD else {}


def _pooling(folder: Path) -> Pooling:
    """What a sentence-transformers folder says; the mean where it is none."""
    try:
        said = json.loads((folder / "1_Pooling" / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return "mean"
    if said.get("pooling_mode_cls_token") or said.get("pooling_mode") == "cls":
        return "first"
    if said.get("pooling_mode_lasttoken") or said.get("pooling_mode") == "lasttoken":
        return "last"
    return "mean"
