"""How much of a GPU's arithmetic a run uses: model FLOPs utilisation (Chowdhery et al. 2022, PaLM, appendix B).

    MFU = multiplications and additions of a token's products × tokens a second / the most that the device can do

The operations are those that the first step really makes (torch counts the products of matrices and of attention), so
what a step computes twice to save memory counts twice. Without a known peak, as on a CPU, nothing is said.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sslcore.training.precision import Precision

PEAKS = {  # dense, in FLOP/s by the makers' data sheets: bfloat16 or float16, float32
    "H200": (989e12, 67e12),
    "H100 PCIe": (756e12, 51e12),
    "H100": (989e12, 67e12),
    "A100": (312e12, 19.5e12),
    "A10G": (70e12, 35e12),
    "L40S": (362e12, 91.6e12),
    "L4": (121e12, 30.3e12),
    "V100": (125e12, 15.7e12),
    "T4": (65e12, 8.1e12),
    "RTX 4090": (165e12, 82.6e12),
    "RTX 3090": (71e12, 35.6e12),
}


def peak_of(device_name: str, precision: "Precision") -> float | None:
    """FLOP/s of a device by its name, as torch has it; None where it is not known."""
    found = next((peaks for name, peaks in PEAKS.items() if name.lower() in device_name.lower()), None)
    return found[precision == "float32"] if found else None


def utilisation(
    flops_per_token: float, tokens_per_second: float, device_name: str, precision: "Precision", devices: int = 1
) -> float | None:
    """MFU, 0 to 1, of a run on some devices of one kind; None where their peak is not known."""
    peak = peak_of(device_name, precision)
    return flops_per_token * tokens_per_second / (peak * devices) if peak else None
