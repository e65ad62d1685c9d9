"""What an encoder brings: words, geometry, label efficiency against honest baselines, and a verdict."""

from sslcore.evaluation.assembly import write_evaluation_report
from sslcore.evaluation.config import Evaluation

__all__ = ["Evaluation", "write_evaluation_report"]
