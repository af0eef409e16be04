"""By how much a cluster's counters of errors have grown."""

from __future__ import annotations

from embed_job.opensearch.check.counters import grown


def test_what_did_not_grow_is_left_out() -> None:
    before = {"n1": {"graph_query_errors": 3, "graph_index_errors": 0}}
    assert grown(before, before) == {}
    after = {"n1": {"graph_query_errors": 5, "graph_index_errors": 0}}
    assert grown(before, after) == {"graph_query_errors": 2}


def test_nodes_add_up_and_new_ones_count() -> None:
    before = {"n1": {"graph_query_errors": 1}}
    after = {"n1": {"graph_query_errors": 2}, "n2": {"graph_query_errors": 4}}
    assert grown(before, after) == {"graph_query_errors": 5}


def test_a_node_that_was_started_anew_counts_from_zero() -> None:
    before = {"n1": {"graph_query_errors": 7}, "gone": {"graph_query_errors": 1}}
    assert grown(before, {"n1": {"graph_query_errors": 2}}) == {"graph_query_errors": 2}
    assert grown(before, {"n1": {"graph_query_errors": 0}}) == {}
