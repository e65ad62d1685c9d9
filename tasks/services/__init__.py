"""The services of `sslcore up`: a Prefect server, an MLflow server and a worker, for one store on one machine."""

from tasks.services.lifecycle import Services, down, running, up
from tasks.services.prefect_side import limit_gpu

__all__ = ["Services", "down", "limit_gpu", "running", "up"]
