"""The whole story: raw text → corpus → tokenizer → encoders → what they brought → classifier → registry."""

from prefect import flow

from flows.job import Job
from sslcore.artifacts import Ref
from tasks import inputs
from tasks.evaluation import evaluate
from tasks.finetuning import fine_tune
from tasks.flow_runs import HOOKS, open_flow_run
from tasks.ingestion import ingest, labelled
from tasks.pretraining import pretrain
from tasks.registration import chosen_encoder, register
from tasks.summary import JobResult, summarise


@flow(name="end-to-end", log_prints=False, **HOOKS)
def end_to_end(job: Job = Job()) -> JobResult:
    """Clean a corpus, pretrain encoders on it, measure what they bring, register the classifier."""
    open_flow_run(job.name, job.model_dump(mode="json"))
    corpus = ingest(job.corpus)
    earlier = inputs.encoder(job.continuing) if job.continuing else None
    encoded = inputs.encoded(job.tokenization, corpus, earlier)
    encoders: dict[str, Ref] = {"before": earlier} if earlier else {}
    encoders |= {
        o.kind: pretrain(o, encoded, job.seed, earlier, probe=job.probe, stop_on_collapse=job.stop_on_collapse)
        for o in job.objectives
    }
    report = evaluate(job.evaluation, corpus, encoders, job.seed)
    model = chosen_encoder(report, encoders)
    if labelled(corpus):
        model = fine_tune(job.finetuning, corpus, model, job.seed)
    version = register(model, report, job.registration.name or job.name, job.registration.alias)
    return summarise(report, version)
