"""Rows into an index: encoded, sent in bulks, each item acknowledged or refused.

Guarantee on a domain: a split is :class:`Delivered` once the server has acknowledged each of its
rows, or refused it with a reason; a replay changes nothing, and a writer of an older generation
changes nothing either.
"""

from embed_job.opensearch.delivery.deliver import Delivery
from embed_job.opensearch.delivery.results import Delivered, DeliveryStats, Refused, SplitRows
from embed_job.opensearch.delivery.tier import Domain, Tier

__all__ = ["Delivered", "Delivery", "DeliveryStats", "Domain", "Refused", "SplitRows", "Tier"]
