"""Hands inferences to the replicas of a program: several in flight on each, and none lost with a device.

A caller's own thread queues its inference on the replica that has the fewest, where a slot is free; else the inference
waits for the next slot that gets free, so that a slow replica gets less to do. One thread a replica waits for what is
in flight there, in order, and queues the next inference before it hands out the results of the last.

An inference that fails is tried on other replicas, :data:`TRIES` at most; meanwhile a replica where it failed gets no
other. When it succeeds elsewhere, the replicas where it failed are at fault, and get no more work. When it fails
everywhere, the inference itself is: its caller gets the error, and the replicas go on.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from queue import Empty

from QEfficient.backends.qaic.lane import Job, Lane
from QEfficient.backends.qaic.replica import Array, Replica, Slot
from QEfficient.backends.threads import leave
from QEfficient.errors import DeviceError
from QEfficient.records import Json

TRIES = 5  # one more than the devices of one card, which may all go at once
_LINGER = 1.0  # seconds without work after which a replica's thread ends
_log = logging.getLogger(__name__)


class Dispatcher:
    """The slots of active replicas. Safe from many threads.

    Args:
        replicas: At least one.
        per_replica: Inferences in flight on each.

    Raises:
        DeviceError: A slot can't be made.
    """

    def __init__(self, replicas: Sequence[Replica], per_replica: int) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for who closes
        self._waiting: deque[Job] = deque()  # those that failed before come first
        self._open, self._closed = 0, False
        self._pumping = False
        self._lanes = {id(replica): Lane(replica) for replica in replicas}
        try:
            for lane in self._lanes.values():
                lane.idle.extend(Slot(lane.replica) for _ in range(per_replica))
                lane.slots = per_replica
        except DeviceError:
            for lane in self._lanes.values():
                lane.idle.clear()
            raise

    @property
    def slots(self) -> int:
        """Inferences that can be in flight at once, on the replicas that work."""
        return sum(lane.slots for lane in self._lanes.values() if lane.lost is None)

    @property
    def serving(self) -> int:
        """Replicas that work."""
        return sum(lane.lost is None for lane in self._lanes.values())

    def works(self, replica: Replica) -> bool:
        """Whether it is not lost."""
        return self._lanes[id(replica)].lost is None

    def report(self) -> dict[str, Json]:
        """Inferences of each replica so far; replicas that were lost, and how they failed."""
        lanes = self._lanes.values()
        lost = [{"devices": list(o.replica.devices), "error": o.lost} for o in lanes if o.lost is not None]
        return {"runs": [lane.runs for lane in lanes], "lost": lost}

    def run(self, job: Job) -> dict[str, Array]:
        """Run one inference, on this very thread where a slot is free.

        Raises:
            DeviceError: It failed wherever it was tried, or no replica works, or this is closed.
        """
        slot = self._enter(job, alone=True)
        try:
            if slot is not None:
                try:
                    slot.start(job.layout, job.arrays)
                    results = slot.finish()
                except DeviceError as error:
                    self._failed(slot, job, error)
                except BaseException as error:  # Ctrl-C, say: its ExecObj may still be in flight
                    self._stopped(slot, job, error)
                    raise
                else:
                    try:
                        self._free(slot, ran=True)
                    finally:
                        self._leave()
                    return results
            try:
                return job.future.result()
            except BaseException:
                job.future.cancel()  # after Ctrl-C it need not start any more
                raise
        finally:
            del job, slot  # an error's traceback would keep them, and they keep the error

    def submit(self, job: Job) -> None:
        """Run one inference in the background; its future gets the results.

        Raises:
            DeviceError: No replica works, or this is closed.
        """
        slot = self._enter(job, alone=False)
        if slot is not None:
            self._launch(slot, job, own=True)

    # -------------------------------------------------------------------------------------------- under the lock

    def _enter(self, job: Job, *, alone: bool) -> Slot | None:
        """A slot for the job; none: it waits for one."""
        with self._lock:
            if self._closed or not self.serving:
                raise closed() if self._closed else self._all_lost()
            self._open += 1
            slot = self._claim(job)
            if slot is None:
                self._waiting.append(job)
            elif not alone:
                job.start()
                self._need_thread(slot)
            return slot

    def _claim(self, job: Job) -> Slot | None:
        best: Lane | None = None
        for lane in self._lanes.values():
            if lane.idle and (best is None or lane.busy < best.busy) and lane.takes(job):
                best = lane
        if best is None:
            return None
        best.busy += 1
        return best.idle.popleft()

    def _next(self, lane: Lane) -> Job | None:
        """The first waiting job that the lane takes."""
        place = 0
        while place < len(self._waiting):
            job = self._waiting[place]
            if lane.takes(job):
                del self._waiting[place]
                if job.start():
                    return job
                self._open -= 1  # cancelled
                self._changed.notify_all()
            elif not job.tried:
                return None  # nor does it take the others
            else:
                place += 1
        return None

    def _need_thread(self, slot: Slot) -> None:
        lane = self._lanes[id(slot.owner)]
        if lane.thread is None:
            name = f"qaic-{'-'.join(map(str, lane.replica.devices))}"
            # no interpreter waits for it at its end: the session's own hook does, and gives the cores back
            lane.thread = threading.Thread(target=self._serve, args=(lane,), name=name, daemon=True)
            lane.thread.start()

    def _all_lost(self) -> DeviceError:
        return DeviceError(
            "The session has lost its device.",
            got="; ".join(f"device(s) {list(o.replica.devices)}: {o.lost}" for o in self._lanes.values()),
            allowed="at least one device group that works",
            do="check the device with qaic-util -q, and open the program again",
        )

    # -------------------------------------------------------------------------------------------- in flight

    def _launch(self, slot: Slot, job: Job, *, own: bool = False) -> None:
        """Queue a started job on its device. Only who brought it (``own``) also gets its error raised."""
        try:
            slot.start(job.layout, job.arrays)
        except DeviceError as error:
            self._failed(slot, job, error)
        except BaseException as error:
            if own or isinstance(error, Exception):
                self._stopped(slot, job, error)
            else:  # Ctrl-C, which is no business of another caller's job: it waits again
                with self._lock:
                    self._waiting.appendleft(job)
                self._renew(slot, error)
                self._pump()
            if own or not isinstance(error, Exception):
                raise
        else:
            self._lanes[id(slot.owner)].flying.put((slot, job))
        finally:
            del job, slot  # an error's traceback would keep them, and they keep the error

    def _serve(self, lane: Lane) -> None:
        """A lane's thread: ends what is in flight there, in order."""
        while True:
            try:
                found = lane.flying.get(timeout=_LINGER)
            except Empty:
                with self._lock:
                    if not lane.busy:
                        lane.thread = None
                        return
                continue
            if found is None:
                return
            self._end(*found)
            del found  # it holds the caller's arrays

    def _end(self, slot: Slot, job: Job) -> None:
        try:
            results = slot.finish()
        except DeviceError as error:
            self._failed(slot, job, error)
        except BaseException as error:  # the thread must live, and the caller hear of it
            self._stopped(slot, job, error)
        else:
            try:
                self._free(slot, ran=True)
                if job.tried:
                    self._blame(job)
            finally:
                job.future.set_result(results)
                self._leave()
        finally:
            del job, slot  # an error's traceback would keep them, and they keep the error

    def _free(self, slot: Slot, *, ran: bool) -> None:
        """The slot's inference is over: its device gets the next one at once."""
        lane, job = self._lanes[id(slot.owner)], None
        with self._lock:
            lane.busy -= 1
            lane.runs += ran
            if lane.lost is None:
                job = self._next(lane)
                if job is None:
                    lane.idle.append(slot)
                else:
                    lane.busy += 1
                    self._need_thread(slot)
        if job is not None:
            self._launch(slot, job)
        elif lane.lost is not None:
            slot.drop()

    def _leave(self) -> None:
        """A job is over, and its caller knows."""
        with self._lock:
            self._open -= 1
            if self._closed:
                self._changed.notify_all()

    # -------------------------------------------------------------------------------------------- failures

    def _failed(self, slot: Slot, job: Job, error: DeviceError) -> None:
        """Try the job elsewhere, or give its caller the error."""
        lane = self._lanes[id(slot.owner)]
        with self._lock:
            job.tried.append((lane, error))
            lane.doubts += 1
        self._renew(slot, error)
        with self._lock:
            again = len(job.tried) < TRIES and any(other.takes(job) for other in self._lanes.values())
            if again:
                job.start()
                self._waiting.appendleft(job)
        if not again:
            error = job.tried[0][1]
            self._settle(job)
        self._pump()
        if not again:
            job.future.set_exception(error)
            self._leave()

    def _stopped(self, slot: Slot, job: Job, error: BaseException) -> None:
        """An inference ended by what is no device's fault, such as Ctrl-C; it may still be in flight."""
        self._renew(slot, error)
        self._settle(job)
        self._pump()
        job.future.set_exception(error)
        self._leave()

    def _renew(self, slot: Slot, error: BaseException) -> None:
        """A new ExecObj for the slot; a lane without any is lost."""
        lane = self._lanes[id(slot.owner)]
        slot.drop()
        if lane.lost is not None or slot.renew():
            self._free(slot, ran=False)
            return
        with self._lock:
            lane.busy -= 1
            lane.slots -= 1
        if not lane.slots:
            self._lose(lane, error)

    def _settle(self, job: Job) -> list[tuple[Lane, DeviceError]]:
        """The job is over: no lane is in doubt for it any more."""
        tried, job.tried = job.tried, []
        with self._lock:
            for lane, _ in tried:
                lane.doubts -= 1
        return tried

    def _blame(self, job: Job) -> None:
        """The job was right: whoever failed at it is at fault."""
        for lane, error in self._settle(job):
            self._lose(lane, error)
        self._pump()

    def _lose(self, lane: Lane, error: BaseException) -> None:
        with self._lock:
            if lane.lost is not None:
                return
            lane.lost = str(error)
            dropped = list(lane.idle)
            lane.idle.clear()
            serving = self.serving
        for slot in dropped:
            slot.drop()
        _log.warning(
            "Device(s) %s failed and get no more work; %d of %d device group(s) go on. %s",
            list(lane.replica.devices),
            serving,
            len(self._lanes),
            error,
        )

    def _pump(self) -> None:
        """After a failure: waiting jobs go wherever a slot is idle; those that no device is left for end.

        What fails at once comes back here. The first call goes round for all of them, so that none nests in another.
        Ctrl-C is raised once everything has its place.
        """
        stopped: BaseException | None = None
        with self._lock:
            if self._pumping:
                return
            self._pumping = True
        try:
            while True:
                with self._lock:
                    lost = not self.serving
                    ended = self._end_all() if lost else self._end_stuck()
                    launched = self._match()
                    if not ended and not launched:
                        self._pumping = False
                        break
                for job in ended:
                    error = self._all_lost() if lost else job.tried[0][1]
                    self._settle(job)
                    job.future.set_exception(error)
                    self._leave()
                for slot, job in launched:
                    try:
                        self._launch(slot, job)
                    except BaseException as error:
                        stopped = error
        except BaseException:  # Ctrl-C anywhere else: the next failure goes round again
            self._pumping = False
            raise
        if stopped is not None:
            raise stopped

    def _match(self) -> list[tuple[Slot, Job]]:
        found = []
        for lane in self._lanes.values():
            while lane.idle and (job := self._next(lane)) is not None:
                slot = lane.idle.popleft()
                lane.busy += 1
                self._need_thread(slot)
                found.append((slot, job))
        return found

    def _end_all(self) -> list[Job]:
        ended = [job for job in self._waiting if job.start()]
        self._open -= len(self._waiting) - len(ended)  # cancelled
        self._changed.notify_all()
        self._waiting.clear()
        return ended

    def _end_stuck(self) -> list[Job]:
        """Jobs that failed, and that wait for devices which are lost by now."""
        lanes = self._lanes.values()
        stuck = [job for job in self._waiting if job.tried and not any(lane.takes(job) for lane in lanes)]
        self._waiting = deque(job for job in self._waiting if job not in stuck)
        return stuck

    def close(self) -> None:
        """Take no more, wait for every job, waiting ones too, then drop every ExecObj."""
        with self._lock:
            self._closed = True
            self._changed.wait_for(lambda: not self._open)
        for lane in self._lanes.values():
            lane.flying.put(None)
            thread = lane.thread
            if thread is not None:
                thread.join()
            for slot in lane.idle:
                slot.drop()
            lane.idle.clear()


def closed() -> DeviceError:
    """The error of a session that was closed.

    Raises:
        SystemExit: It was closed because the interpreter ends, and this is a daemon thread.
    """
    leave()
    return DeviceError(
        "The session is closed.", got="a run after close()", allowed="an open session", do="open the program again"
    )
