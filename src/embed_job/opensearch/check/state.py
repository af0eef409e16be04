"""Checks 4, 8 and 9: the index is as specified, no load profile is left on, the alias is sane."""

from __future__ import annotations

from collections.abc import Iterator

from embed_job.opensearch.check.subject import Answer, Subject
from embed_job.opensearch.index.mapping import differences
from embed_job.opensearch.index.profile import REFRESH, REPLICAS, THRESHOLD, expands, has_threshold


def check_mapping(subject: Subject) -> Answer:
    """Dimension, engine, space, parameters, fields and fingerprint, as the spec wants them."""
    faults = differences(subject.target, dict(subject.found))
    graph, dataset = subject.target.output.graph, subject.target.dataset
    told = f"{dataset.dimension} numbers, {graph.engine}, {subject.target.space}"
    told += f", fingerprint {dataset.fingerprint[:12]}"
    return Answer(not faults, "; ".join(faults) or told)


def check_profile(subject: Subject) -> Answer:
    """What a load changes is back: threshold 0, refreshes on, replicas there, graphs merged.

    A threshold left on would hide a missing graph behind the perfect recall of exact search. A
    server older than 2.18 has none.
    """
    if subject.target.is_serverless:
        return Answer(ok=True, detail="Serverless has no such settings", skipped=True)
    faults = [*_left_on(subject), *_missing_copies(subject)]
    told = "threshold 0" if has_threshold(subject.found) else "no threshold on this server"
    told += f", replicas {subject.found['settings'].get(REPLICAS)}, refreshed"
    return Answer(not faults, "; ".join(faults) or told)


def _left_on(subject: Subject) -> Iterator[str]:
    settings = subject.found["settings"]
    threshold = settings.get(THRESHOLD)
    if has_threshold(subject.found) and threshold != "0":
        yield f"approximate_threshold is {threshold or 'not set'}, not 0"
    if settings.get(REFRESH, "").startswith("-"):
        yield "refresh_interval is -1: searches don't see what is written"
    replicas = settings.get(REPLICAS)
    if not expands(subject.found) and replicas != str(subject.target.output.replicas):
        yield f"replicas are {replicas}, not {subject.target.output.replicas}"
    if subject.meta is not None and subject.meta.profile is not None:
        yield "the index still records settings to put back (embed-job finalize SPEC)"
    elif subject.meta is not None and not subject.meta.merged:
        yield "its segments are not merged (embed-job finalize SPEC)"


def _missing_copies(subject: Subject) -> Iterator[str]:
    health = subject.client.cluster.health(index=subject.name)
    if health["status"] != "green":
        missing = health["unassigned_shards"] + health["initializing_shards"]
        yield f"is {health['status']}: {missing} copies of shards are not there"


def check_alias(subject: Subject) -> Answer:
    """The alias names one index or none, never two: a swap is whole, or has not been."""
    alias, client = subject.target.alias, subject.client
    if alias is None:
        return Answer(ok=True, detail="the spec names no alias")
    if not client.indices.exists_alias(name=alias):
        if client.indices.exists(index=alias):
            return Answer(ok=False, detail=f"{alias} is the name of an index")
        return Answer(ok=True, detail=f"{alias} is not there yet; embed-job promote makes it")
    holders = sorted(client.indices.get_alias(name=alias))
    if len(holders) > 1:
        return Answer(
            ok=False, detail=f"{alias} names {len(holders)} indexes: {', '.join(holders)}"
        )
    here = " (this index)" if holders == [subject.name] else "; embed-job promote moves it"
    return Answer(ok=True, detail=f"{alias} → {holders[0]}{here}")
