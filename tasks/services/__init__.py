"""The services of `sslcore up`: a Prefect server, an MLflow server and a worker, for one store on one machine."""

from tasks.services.lifecycle import Services, down, running, up

__all__ = ["Services", "down", "running", "up"]
