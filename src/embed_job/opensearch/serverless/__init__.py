"""Serverless vector collections: delivery without ``_id`` and version, one copy of each at the end.

What is relied on, as Amazon's developer guide has it ("Supported operations and plugins in Amazon
OpenSearch Serverless", "Choosing a collection type", "Using PIT with Amazon OpenSearch
Serverless"): a document of a vector collection can't be given an ``_id``, is seen by searches some
time after it was acknowledged, and can be deleted by the ``_id`` that the service gave it.
``_bulk``, ``_search`` with aggregations and ``search_after``, ``_count``, ``_mapping``,
``_settings`` and ``_aliases`` are there; ``_refresh``, ``_forcemerge``, ``_tasks``,
``_cluster``, ``_delete_by_query`` and k-NN's warm-up and stats are not.

The guarantee: each row arrives at least once during a load, and is there exactly once after the
sweep that ends it.
"""
