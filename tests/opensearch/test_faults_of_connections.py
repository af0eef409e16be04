"""Faults 5-7, 11 and 15: requests that get lost, come late, are too large, or are not let in."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from opensearchpy import OpenSearch

from tests.opensearch import corpora, faults
from tests.opensearch.loads import SMALL_BULKS, Load, Undisturbed, ended
from tests.opensearch.proxy import Proxy, Rule

REFRESHED_AT_EVERY_REQUEST_S = 60
"""botocore asks for new keys where those at hand have less than ten minutes to live."""


def test_fault_5_a_connection_reset_before_the_server_hears_of_the_rows(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    proxy.rules = [Rule(faults.reset_before(), skip=1, times=5)]
    load.load()
    assert sum(seen.status is None for seen in proxy.bulks()) == 5
    load.assert_whole(calm)


def test_fault_6_a_connection_reset_after_the_server_applied_the_rows(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    proxy.rules = [Rule(faults.reset_after(), skip=1, times=5)]
    load.load()
    unheard = [seen for seen in proxy.bulks() if seen.status is None]
    times = Counter(proxy.sent())
    assert len(unheard) == 5
    assert all(times[one.id] >= 2 for seen in unheard for one in seen.request.operations())
    load.assert_whole(calm)


def test_fault_7_what_timed_out_is_applied_after_its_repetition(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    load.options["bulk"] = SMALL_BULKS | {"timeout_s": 0.5}
    late = Rule(faults.apply_late(3.0), skip=2, times=2)
    proxy.rules = [late]
    load.load()
    proxy.wait_for(lambda: all(seen.status == 200 for seen in proxy.bulks()), timeout_s=10)
    held = sorted(proxy.bulks(), key=lambda seen: (seen.until or 0) - seen.at)[-2:]
    again = Counter(proxy.sent())
    assert all(again[one.id] >= 2 for seen in held for one in seen.request.operations())
    load.assert_whole(calm)


def test_fault_11_a_413_halves_the_request_until_it_fits(
    proxy: Proxy, load: Load, calm: Undisturbed
) -> None:
    proxy.rules = [Rule(faults.too_large(3000), times=None)]
    load.load()
    sizes = [(seen.status, len(seen.request.body)) for seen in proxy.bulks()]
    assert any(status == 413 for status, _ in sizes)
    assert all(size <= 3000 for status, size in sizes if status == 200)
    assert sum(status == 413 for status, _ in sizes) < len(sizes) / 2
    load.assert_whole(calm)


def test_fault_11_a_document_that_is_too_large_alone_is_a_dead_letter(
    tmp_path: Path, proxy: Proxy, client: OpenSearch, index_name: str, opensearch_url: str
) -> None:
    giant = {**corpora.document(70), "text": " ".join(["\u0436" * 400] * 30)}
    corpora.write_corpus(tmp_path, rows=80, splits=2)
    corpora.write_split(tmp_path, 2, [giant | {"id": "giant"}, corpora.document(90)])
    corpora.make_bundle(tmp_path, dim=16)
    corpora.embed(tmp_path)
    options = {"bulk": SMALL_BULKS | {"max_mib": 1}, "gates": {"max_rejected_fraction": 0.1}}
    undisturbed = Load(tmp_path, opensearch_url, client, f"{index_name}-calm", options)
    undisturbed.load()

    proxy.rules = [Rule(faults.too_large(10_000), times=None)]
    load = Load(tmp_path, proxy.url, client, index_name, options)
    load.load()
    load.assert_whole(undisturbed.state(), refused=["giant"])
    (letter,) = load.letters()
    assert letter["status"] == 413


@pytest.fixture
def keys(tmp_path: Path, load: Load) -> Callable[[str], None]:
    """Has the loader's credentials change to another key: those of a role that is renewed."""
    current = tmp_path / "credentials.json"
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = cat {current}\n")
    load.options |= {"auth": "sigv4", "region": "eu-central-1"}
    load.environment |= {"AWS_CONFIG_FILE": str(config), "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    load.environment |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "default"}

    def change(key: str) -> None:
        until = time.gmtime(time.time() + REFRESHED_AT_EVERY_REQUEST_S)
        expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", until)
        secret = {"Version": 1, "AccessKeyId": key, "SecretAccessKey": "x", "SessionToken": "y"}
        fresh = current.with_suffix(".new")
        fresh.write_bytes(orjson.dumps({**secret, "Expiration": expiration}))
        fresh.rename(current)

    return change


def test_fault_15_credentials_that_expire_in_the_middle_are_renewed(
    proxy: Proxy, load: Load, calm: Undisturbed, keys: Callable[[str], None]
) -> None:
    keys("AKIAOLD")
    expired = Rule(faults.expired_unless(lambda: "AKIANEW"), skip=4, times=None)
    proxy.rules = [expired]
    process = load.start()
    proxy.wait_for(lambda: sum(seen.status == 403 for seen in proxy.bulks()) >= 3)
    keys("AKIANEW")
    done = ended(process)
    assert done.code == 0, done.told
    load.assert_whole(calm)


def test_fault_15_credentials_that_stay_expired_end_the_load_which_resumes(
    proxy: Proxy, load: Load, calm: Undisturbed, keys: Callable[[str], None]
) -> None:
    keys("AKIAOLD")
    load.options["bulk"] = SMALL_BULKS | {"deadline_s": 2}
    proxy.rules = [Rule(faults.expired_unless(lambda: "AKIANEW"), skip=4, times=None)]
    failed = load.run()
    assert failed.code == 4, failed.told
    assert "Traceback" not in failed.told
    assert load.letters() == []

    keys("AKIANEW")
    load.load()
    load.assert_whole(calm)
