"""What the tests against a real OpenSearch share."""

import pytest

# So that what fails in it is told as in a test.
pytest.register_assert_rewrite("tests.opensearch.loads")
