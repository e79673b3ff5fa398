"""Jobs in processes of their own: started afresh, ended with their parent, deaf to Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from sd_cluster.errors import FitError

if TYPE_CHECKING:
    from concurrent.futures import Future

Made = TypeVar("Made")

WATCH = 0.5
"""Seconds between two looks of a worker at its parent."""


def run_together(
    job: Callable[..., Made], payload: Any, asked: Sequence[tuple[Any, ...]], hands: int
) -> Iterator[Made]:
    """Results as they are done by several processes.

    loky starts its workers afresh and does not import the caller's script again, so a script needs no
    `if __name__ == "__main__"`, and no thread of this process is copied half-way.

    Parameters
    ----------
    job
        A function of a module, called as `job(payload, *one)`.
    payload
        What every job needs; sent to each worker once.
    asked
        Further arguments of each job.
    hands
        Processes to use, at most one a job.

    Raises
    ------
    FitError
        If a worker died.
    """
    from concurrent.futures import BrokenExecutor, as_completed

    import loky

    pool = loky.ProcessPoolExecutor(min(hands, len(asked)), initializer=receive, initargs=(payload, os.getpid()))
    try:
        waiting: list[Future[Made]] = [pool.submit(_run, job, one) for one in asked]
        for future in as_completed(waiting):
            yield future.result()
        pool.shutdown(wait=True)
    except BrokenExecutor as error:
        raise died(error) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def died(error: BaseException) -> FitError:
    """What to say of a pool whose worker died."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return FitError(f"a worker process died: {reason} Use fewer workers, or workers=1 to stay in this one")


def receive(payload: Any, parent: int) -> None:
    """Keep the payload in a worker, leave Ctrl-C to the process that shows the bar, and end when that process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if os.name == "posix":
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _received[:] = [payload]


def received() -> Any:
    """What this worker was given."""
    return _received[0]


_received: list[Any] = []


def _run(job: Callable[..., Made], one: tuple[Any, ...]) -> Made:
    return job(received(), *one)


def _end_with(parent: int) -> None:
    """End this worker when its parent has been killed: loky's would wait for work for ever."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
