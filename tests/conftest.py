"""What all tests share: a cache of their own, the same examples on every machine, files that stay with one worker."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "house", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

APART = ("test_docs.py", "test_features.py", "test_interpreter.py")
"""Files whose tests prepare nothing for one another: each of them may go to any worker."""
FIRST = (
    "demo",
    "resume",
    "cluster_network",
    "stages",
    "posterior",
    "forward",
    "ensemble",
    "whole",
    "docs",
    "fit",
    "sensitivity",
)
"""Files that take longest: begun last, one worker would work on them while the others are done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first; all else stays in its order."""
    places = {f"test_{name}.py": place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of a file go to one worker, which prepares once what they share; `--dist` asks for another order."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::", 1)[0]
            return nodeid if file.endswith(APART) else file

    config.option.loadscopereorder = False
    return ByFile(config, log)


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
