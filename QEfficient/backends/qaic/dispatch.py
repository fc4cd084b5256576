"""Hands inferences to the replicas of a program: several in flight on each, and none lost with a device.

An inference leases a slot of the replica that has the fewest leased; where none is idle it waits in one queue for the
next that gets free, so that a slow replica gets less to do. One worker thread a replica starts what it was assigned,
then waits for the oldest in flight there; what it is assigned meanwhile starts when that is done. Whoever waits for one
inference runs it on his own thread, where a slot is idle.

An inference that fails is tried on other replicas, :data:`TRIES` at most; meanwhile a replica where it failed gets no
other. When it succeeds elsewhere, the replicas where it failed are at fault, and get no more work. When it fails
everywhere, the inference itself is: its caller gets the error, and the replicas go on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial

from QEfficient.backends.qaic.replica import Replica
from QEfficient.backends.qaic.slot import Array, Slot
from QEfficient.backends.qaic.worker import Inference, Worker
from QEfficient.backends.refusals import closed
from QEfficient.errors import DeviceError
from QEfficient.records import Json

TRIES = 5  # one more than the devices of one card, which may all go at once
_LINGER = 1.0  # seconds without work after which a worker's thread ends
_log = logging.getLogger(__name__)

_Later = list[Callable[[], None]]


class Dispatcher:
    """Replicas of a program, and whatever runs on them. Safe from many threads.

    Args:
        replicas: At least one; they are activated here, and deactivated by :meth:`close`.
        per_replica: Inferences in flight on each.

    Raises:
        DeviceError: A device refuses.
    """

    def __init__(self, replicas: Sequence[Replica], per_replica: int) -> None:
        self._lock = threading.Lock()
        self._open: dict[Future[dict[str, Array]], None] = {}  # of inferences that are not over, oldest first
        self._queue: deque[Inference] = deque()
        self._retries: deque[Inference] = deque()  # failed somewhere: they come first
        self._closed = False
        self.replicas = replicas
        self._workers: list[Worker] = []
        try:
            for replica in replicas:
                replica.activate()
                self._workers.append(Worker(replica, per_replica, self._lock))
        except BaseException:  # no core stays taken by a session that did not open
            for worker in self._workers:
                worker.slots.drop()
            for replica in replicas:
                with suppress(DeviceError):  # the first error is the one to show
                    replica.deactivate()
            raise

    @property
    def slots(self) -> int:
        """Inferences that can be in flight at once, on the replicas that work."""
        return sum(worker.slots.working for worker in self._workers if worker.lost is None)

    def report(self) -> dict[str, Json]:
        """Inferences of each replica so far; replicas that were lost, and how they failed."""
        lost = [{"devices": list(w.replica.devices), "error": w.lost} for w in self._workers if w.lost is not None]
        return {"runs": [worker.runs for worker in self._workers], "lost": lost}

    def run(self, inference: Inference) -> dict[str, Array]:
        """Run one inference, on this very thread where a slot is idle.

        Raises:
            DeviceError: It failed wherever it was tried, or no replica works, or this is closed.
        """
        try:
            with self._lock:
                self._enter(inference)
                worker = self._best(inference)
                if worker is None:
                    self._queue.append(inference)
                else:
                    inference.start()
                    slot = worker.slots.lease()
            if worker is not None and self._start(worker, slot, inference):
                results = self._finish(worker, slot, inference)
                if results is not None:
                    inference.succeed(results)
            return inference.future.result()
        except BaseException as error:
            inference.abandon(error)
            raise
        finally:
            del inference  # an error's traceback would keep it, and it keeps the error

    def submit(self, inference: Inference) -> None:
        """Run one inference in the background; its future gets the results.

        Raises:
            DeviceError: No replica works, or this is closed.
        """
        try:
            with self._changing():
                self._enter(inference)
                self._queue.append(inference)
        except BaseException as error:
            inference.abandon(error)
            raise

    def close(self) -> None:
        """Take no more, wait for every inference, waiting ones too, then give the devices' cores back.

        Raises:
            DeviceError: A device that works refuses.
        """
        with self._lock:
            self._closed = True
        for future in list(self._open):
            wait([future])
        with self._lock:
            threads = [worker.thread for worker in self._workers if worker.thread is not None]
            for worker in self._workers:
                worker.stopped = True
                worker.wake.notify()
        for thread in threads:
            thread.join()
        errors = []
        for worker in self._workers:
            worker.slots.drop()  # a program with an ExecObj can't be deactivated
            try:
                worker.replica.deactivate()
            except DeviceError as error:
                if worker.lost is None:
                    errors.append(error)
                else:  # of a device that is lost already nobody hears a second time
                    _log.info("%s", error)
        if errors:
            raise errors[0]

    # -------------------------------------------------------------------------------------------- under the lock

    @contextmanager
    def _changing(self) -> Iterator[_Later]:
        """Holds the lock, then hands out the slots that are idle.

        What is put into the list is done after that: what a future calls, or a log's handler, may come back here.
        """
        later: _Later = []
        with self._lock:
            yield later
            self._assign(later)
        for call in later:
            call()

    def _enter(self, inference: Inference) -> None:
        if self._closed:
            raise closed()
        if not self._serving():
            raise self._all_lost()
        self._open[inference.future] = None
        inference.future.add_done_callback(lambda future: self._open.pop(future, None))

    def _assign(self, later: _Later) -> None:
        """Gives waiting inferences the slots that are idle, and ends those that nobody is left for."""
        for inference in list(self._retries):
            abandoned = inference.future.done()  # close() may be past waiting for it
            worker = None if abandoned else self._best(inference)
            if worker is not None:
                self._hand_over(worker, inference, later)
            elif abandoned or not any(other.may_take(inference) for other in self._workers):
                self._end(inference, inference.tried[0][1], later)
            else:
                continue
            self._retries.remove(inference)
        while self._queue and (worker := self._best(self._queue[0])) is not None:
            inference = self._queue.popleft()
            if inference.start():  # else it was cancelled
                self._hand_over(worker, inference, later)
        if self._queue and not self._serving():
            for inference in self._queue:
                if inference.start():
                    self._end(inference, self._all_lost(), later)
            self._queue.clear()

    def _best(self, inference: Inference) -> Worker | None:
        """Of the workers that take it now, the one that has the fewest in flight."""
        takers = [worker for worker in self._workers if worker.takes(inference)]
        return min(takers, key=lambda worker: worker.slots.leased, default=None)

    def _hand_over(self, worker: Worker, inference: Inference, later: _Later) -> None:
        """Assigns the inference. Where no thread can be started it runs on this one, once the lock is let go.

        So it is once the main thread has ended (Python 3.12 on), and where the system has no more threads to give.
        """
        try:
            self._need_thread(worker)
        except RuntimeError:
            later.append(partial(self._run_here, worker, worker.slots.lease(), inference))
        else:
            worker.assign(inference)

    def _run_here(self, worker: Worker, slot: Slot, inference: Inference) -> None:
        if self._start(worker, slot, inference):
            results = self._finish(worker, slot, inference)
            if results is not None:
                inference.succeed(results)

    def _need_thread(self, worker: Worker) -> None:
        if worker.thread is None:
            name = f"qaic-{'-'.join(map(str, worker.replica.devices))}"
            # no interpreter waits for it at its end: the session's own hook does, and gives the cores back
            thread = threading.Thread(target=self._serve, args=(worker,), name=name, daemon=True)
            thread.start()
            worker.thread = thread  # not before: the system may have no more threads

    def _take_back(self, worker: Worker) -> None:
        """What a worker was assigned and has not started waits again, in front: it may go elsewhere."""
        with suppress(IndexError):  # its thread takes from the other end, without the lock
            while True:
                slot, inference = worker.assigned.pop()
                worker.slots.give_back(slot)
                (self._retries if inference.tried else self._queue).appendleft(inference)

    def _end(self, inference: Inference, error: BaseException, later: _Later) -> None:
        self._clear_doubts(inference)
        later.append(partial(inference.fail, error))

    def _clear_doubts(self, inference: Inference) -> list[tuple[Worker, DeviceError]]:
        """It is over, one way or the other: no worker is in doubt for it any more."""
        tried, inference.tried = inference.tried, []
        for worker, _ in tried:
            worker.doubts -= 1
        return tried

    def _lose(self, worker: Worker, error: BaseException, later: _Later) -> None:
        if worker.lost is not None:
            return
        worker.lost = str(error)
        self._take_back(worker)
        said = "Device(s) %s failed and get no more work; %d of %d device group(s) go on. %s"
        counts = self._serving(), len(self._workers)
        later.append(partial(_log.warning, said, list(worker.replica.devices), *counts, error))

    def _serving(self) -> int:
        return sum(worker.lost is None for worker in self._workers)

    def _all_lost(self) -> DeviceError:
        return DeviceError(
            "The session has lost its device.",
            got="; ".join(f"device(s) {list(w.replica.devices)}: {w.lost}" for w in self._workers),
            allowed="at least one device group that works",
            do="check the device with qaic-util -q, and open the program again",
        )

    # -------------------------------------------------------------------------------------------- in flight

    def _serve(self, worker: Worker) -> None:
        """A worker's thread: it starts what was assigned, then waits for the oldest inference in flight."""
        flying: deque[tuple[Slot, Inference]] = deque()
        while True:
            self._start_assigned(worker, flying)
            if flying:
                slot, inference = flying.popleft()
                results = self._finish(worker, slot, inference)
                self._start_assigned(worker, flying)  # before a future's callbacks run on this thread
                if results is not None:
                    inference.succeed(results)
                del slot, inference, results  # they hold the caller's arrays
                continue
            with self._lock:
                worker.wake.wait_for(lambda: worker.assigned or worker.stopped, _LINGER)
                if not worker.assigned:
                    worker.thread = None
                    return

    def _start_assigned(self, worker: Worker, flying: deque[tuple[Slot, Inference]]) -> None:
        while True:
            try:
                slot, inference = worker.assigned.popleft()
            except IndexError:
                return
            if self._start(worker, slot, inference):
                flying.append((slot, inference))

    def _start(self, worker: Worker, slot: Slot, inference: Inference) -> bool:
        """Queues an inference on its device. False: it failed, and was taken care of."""
        try:
            slot.start(inference.layout, inference.arrays)
        except BaseException as error:
            self._failed(worker, slot, inference, error)
            return False
        finally:
            del slot, inference  # an error's traceback would keep them, and they keep the error
        return True

    def _finish(self, worker: Worker, slot: Slot, inference: Inference) -> dict[str, Array] | None:
        """Waits for an inference in flight. None: it failed, and was taken care of."""
        try:
            results = slot.finish()
        except BaseException as error:  # Ctrl-C, say; in a worker's thread nothing may be raised
            self._failed(worker, slot, inference, error)
            return None
        else:
            with self._changing() as later:
                worker.runs += 1
                worker.slots.give_back(slot)
                for culprit, reason in self._clear_doubts(inference):  # the inference was right, so they were not
                    self._lose(culprit, reason, later)
            return results
        finally:
            del slot, inference

    def _failed(self, worker: Worker, slot: Slot, inference: Inference, error: BaseException) -> None:
        """Renews the slot; the inference is tried elsewhere, or its caller gets the error.

        What is no device's fault, such as Ctrl-C or no memory, is tried nowhere else.
        """
        if isinstance(error, DeviceError):
            with self._changing():
                inference.tried.append((worker, error))
                worker.doubts += 1
                self._take_back(worker)
        slot.renew()
        with self._changing() as later:
            worker.slots.give_back(slot)
            if not worker.slots.working:
                self._lose(worker, error, later)
            if not isinstance(error, DeviceError):
                self._end(inference, error, later)
            elif len(inference.tried) < TRIES:
                self._retries.appendleft(inference)
            else:
                self._end(inference, inference.tried[0][1], later)
