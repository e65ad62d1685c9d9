"""Weights on disk: safetensors and nothing else, so that loading a model never runs code from its file."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sslcore.errors import UserError


def save_weights(module: torch.nn.Module, path: Path) -> None:
    """Write every parameter and buffer of the module."""
    save_tensors(module.state_dict(), path)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors by name."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Fill the module in place.

    Raises UserError when the file is no safetensors file, or when a tensor is missing, unexpected or of another shape;
    all of that is checked before anything is copied.
    """
    tensors = read_tensors(path)
    expected = module.state_dict()
    problems = [f"{name} {list(expected[name].shape)} is missing" for name in expected if name not in tensors]
    problems += [f"{name} {list(tensors[name].shape)} is not expected" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected
        if name in tensors and tensors[name].shape != expected[name].shape
    ]
    if problems:
        raise UserError(
            f"{path} does not fit this model: {'; '.join(problems)}. The files of two models may be mixed up"
        )
    module.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file. Raises UserError when it is missing or something else."""
    try:
        return load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path} is missing; a model folder without it is incomplete, copy or train it again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is not a safetensors file ({error}). Weights are never read from pickle (.bin, .pt, .pkl), "
            "because loading those runs whatever code they hold; train or convert the model again"
        ) from error
