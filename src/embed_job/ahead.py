"""Stages of a pipeline that work at the same time: one thread makes what another takes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")


@contextmanager
def ahead(
    items: Generator[T, None, None],
    *,
    depth: int,
    waiting: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Iterator[T]]:
    """The same items in their order, made by a thread that is up to depth of them ahead.

    At depth 0 there is no thread: an item is made when it is asked for. What making one raises is
    raised where it would have been taken. At the end of the context the thread has ended, and the
    generator is closed, however many items were taken. waiting: held while an item is waited for.
    """
    if depth == 0:
        with closing(items):
            yield items
        return
    maker = _Maker(items, depth)
    try:
        yield maker.taken(waiting)
    finally:
        maker.close()


class _Maker:
    """A thread and the shelf that it fills."""

    def __init__(self, items: Generator[Any, None, None], depth: int) -> None:
        self._items = items
        self._shelf: deque[Any] = deque()
        self._room = threading.Semaphore(depth)
        self._filled = threading.Semaphore(0)
        self._is_wanted = True
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, name="ahead", daemon=True)
        self._thread.start()

    def _fill(self) -> None:
        try:
            with closing(self._items):
                # Room comes before the item: of depth 1, one is made while another is in use.
                while self._room.acquire() and self._is_wanted:
                    self._shelf.append(next(self._items))
                    self._filled.release()
        except StopIteration:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by whoever takes
            self._error = error
        finally:
            self._filled.release()

    def taken(self, waiting: Callable[[], AbstractContextManager[Any]]) -> Iterator[Any]:
        while True:
            with waiting():
                self._filled.acquire()
            if not self._shelf:
                break
            item = self._shelf.popleft()
            self._room.release()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        self._is_wanted = False
        self._room.release()
        self._thread.join()
