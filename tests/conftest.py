"""What all tests share: a cache of their own, and examples that are the same on every machine."""

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _own_cache() -> Iterator[None]:
    """Machine code goes to a folder of this session, never the user's; `SD_CLUSTER_CACHE` keeps it between sessions."""
    if "SD_CLUSTER_CACHE" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="sd-cluster-tests-") as folder:
        os.environ["SD_CLUSTER_CACHE"] = folder
        yield
        del os.environ["SD_CLUSTER_CACHE"]
