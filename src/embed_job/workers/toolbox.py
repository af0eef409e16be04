"""What a worker loads once: the model, checked against its golden vectors, and the stores."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embed_job.bundle import check_golden, open_bundle
from embed_job.chunk.chunker import Chunker
from embed_job.commit.commits import Commits
from embed_job.engine import load_engine
from embed_job.job import Toolbox
from embed_job.reuse.earlier import Earlier
from embed_job.rows import output_schema
from embed_job.storage import resolve, store_for
from embed_job.tokenizer import Tokenizer

if TYPE_CHECKING:
    from embed_job.workers.messages import WorkerConfig


def load_toolbox(config: WorkerConfig) -> Toolbox:
    """Raises BundleError where the model does not reproduce its golden vectors."""
    spec, dataset = config.spec, config.dataset
    path = config.bundle or spec.model.bundle
    bundle = open_bundle(path, precision=spec.model.precision, verify=False)
    engine = load_engine(bundle, spec.model, threads=spec.execution.threads_per_worker)
    tokenizer = Tokenizer(bundle, prompt=dataset.prompt)
    if spec.model.engine != "null":
        check_golden(bundle, engine, tokenizer, precision=spec.model.precision)
    target_uri = config.target_uri or spec.parquet.uri
    target = store_for(target_uri, temporary=config.temporary)
    schema = output_schema(dataset)
    return Toolbox(
        spec=spec,
        dataset=dataset,
        schema=schema,
        footer=footer(config),
        source=store_for(config.input_uri),
        target=target,
        commits=Commits(target, resolve(target_uri)),
        chunker=Chunker(
            tokenizer,
            strategy=spec.chunk.strategy,
            max_tokens=dataset.max_tokens,
            overlap_tokens=spec.chunk.overlap_tokens,
        ),
        engine=engine,
        spool=Path(config.spool),
        host=config.host,
        worker=config.number,
        earlier=Earlier(config.earlier, target, schema) if config.earlier else None,
        overlap=bool(config.gpus) or spec.execution.threads_per_worker > 1,
    )


def footer(config: WorkerConfig) -> dict[str, str]:
    """What every Parquet footer says of its origin."""
    return {
        "embed_job.fingerprint": config.dataset.fingerprint,
        "embed_job.model_fingerprint": config.dataset.model_fingerprint,
        "embed_job.spec": config.spec.model_dump_json(exclude={"execution", "compute"}),
    }
