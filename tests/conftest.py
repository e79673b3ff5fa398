"""What all tests share: a cache of their own, and examples that are the same on every machine."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Machine code goes to a folder of this session, never the user's; `SD_CLUSTER_CACHE` keeps it between sessions.

    Workers of one session that run side by side share the folder.
    """
    if "SD_CLUSTER_CACHE" in os.environ:
        yield
        return
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "machine-code"
    os.environ["SD_CLUSTER_CACHE"] = str(folder)
    yield
    del os.environ["SD_CLUSTER_CACHE"]
