"""Takes over the data phase of C-STORE where pynetdicom reads PDUs, and gives every other message back to it.

As shipped, pynetdicom asks the socket every millisecond, reads 4 KiB at a time, copies each fragment several times and
hands each object to a second thread that asks its queue every millisecond. Here one thread waits for the socket, reads
what there is into one buffer, and passes each fragment of a dataset on as a view of it; after the last one it has the
object stored and answers by itself. Negotiation, release, abort, C-ECHO and all other services stay pynetdicom's.

It touches pynetdicom 3.0.4 at six places: `DULServiceProvider._is_transport_event` (where the DUL looks for incoming
data), `_process_recv_primitive` and `stop_dul` (aborts it has no place for), `send_pdu` (to be woken), `_decode_pdu`
with its two queues (to give back what is not C-STORE), and `Association._reactor_checkpoint` (on which the
association's own loop waits).

Volatile throughout: an object that is not answered yet is nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import A_ABORT
from pynetdicom.timer import Timer

from gateway.scp.upper_layer import (
    COMMAND_BYTES_MAX,
    Fragment,
    MalformedPdu,
    PduStream,
    StoreRequest,
    find_store_request,
    p_data,
    store_response,
)

if TYPE_CHECKING:
    from pynetdicom.association import Association

    from gateway.scp.reception import ArrivingObject

BUFFER_BYTES: Final = 512 * 1024
WAIT_S: Final = 0.2  # the longest look away from timers while nothing comes
REACTOR_IDLE_S: Final = 0.05
MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024  # of a message other than C-STORE, which is held in memory

_IDLE: Final = "Sta1"
_AWAITING_REQUEST: Final = "Sta2"
_ESTABLISHED: Final = "Sta6"
_AWAITING_CLOSE: Final = "Sta13"
_EVENT_REQUEST: Final = "Evt6"
_EVENT_CONNECTION_CLOSED: Final = "Evt17"
_EVENT_TIMER_EXPIRED: Final = "Evt18"
_EVENT_INVALID_PDU: Final = "Evt19"

log = structlog.get_logger()


class ObjectSink(Protocol):
    """Where the datasets of one association's C-STORE requests go; called in the DUL's thread."""

    def begin(self, request: StoreRequest) -> ArrivingObject | None:
        """Return what takes the request's dataset, None when its context is none for storage."""

    def finish(self, request: StoreRequest, arriving: ArrivingObject) -> tuple[int, str]:
        """Store the object and return its DICOM status with the Error Comment; never raises."""

    def answered(self) -> None:
        """Get ready for the next object, now that the peer has its answer; never raises."""

    def close(self) -> None:
        """Give back what was made ready; the association has ended."""


class MonotonicTimer(Timer):
    """pynetdicom's timer by a clock that nobody sets: a jump of the wall clock ends no association."""

    def __init__(self, timeout_s: float | None) -> None:
        super().__init__(timeout_s)
        self._started: float | None = None
        self._ended: float | None = None

    def start(self) -> None:
        """Start or restart."""
        self._started, self._ended = time.monotonic(), None

    def stop(self) -> None:
        """Stop where it is."""
        self._ended = time.monotonic()

    @property
    def remaining(self) -> float:
        """Return the seconds until it expires, 1 without a limit."""
        timeout_s: float | None = self.timeout
        if timeout_s is None:
            return 1
        if self._started is None:
            return timeout_s
        return timeout_s - ((self._ended or time.monotonic()) - self._started)

    @property
    def expired(self) -> bool:
        """Return whether it was started and its time is over."""
        return self._started is not None and self.remaining < 0


class ReactorGate(threading.Event):
    """Stands for `Association._reactor_checkpoint`: lets the association's loop turn when there is something for it.

    The loop still turns every REACTOR_IDLE_S, so that it sees timeouts and that it is to end. While pynetdicom holds
    the loop by `clear`, it waits as before.
    """

    def __init__(self) -> None:
        super().__init__()
        self._work = threading.Event()
        self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Return when the loop may turn."""
        while True:
            opened = super().wait(timeout)
            self._work.wait(REACTOR_IDLE_S)
            self._work.clear()
            if self.is_set() or timeout is not None:
                return opened

    def let_turn(self) -> None:
        """Have the loop turn at once."""
        self._work.set()


class ReceivingDul(DULServiceProvider):
    """The upper layer of one association that is requested of us. `take_over` puts it in place of pynetdicom's own."""

    def __init__(self, assoc: Association, sink: ObjectSink, pdu_timeout_s: float | None) -> None:
        super().__init__(assoc)
        self._idle_timer = MonotonicTimer(assoc.network_timeout)
        self.artim_timer = MonotonicTimer(assoc.acse_timeout)
        self.gate = ReactorGate()
        self._sink = sink
        self._pdu_timeout_s = pdu_timeout_s
        self._pdu_under_way: tuple[int, float] | None = None  # its number, and when it must be whole
        self._stream = PduStream()
        self._buffer: memoryview | None = None
        self._command = bytearray()
        self._request: StoreRequest | None = None
        self._arriving: ArrivingObject | None = None
        self._other_bytes = 0
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._wake_lock = threading.Lock()  # a number that was closed may be another file's
        self._abandoned = False
        self._poll: select.poll | None = None

    def abandon(self) -> bool:
        """Discard what the association left unfinished and return whether there was an object under way.

        Only after the association's threads have ended.
        """
        with self._wake_lock:
            self._abandoned = True
            os.close(self._wake)
        self._sink.close()
        arriving, self._arriving = self._arriving, None
        if arriving is not None:
            arriving.discard()
        return arriving is not None

    def send_pdu(self, primitive: object) -> None:
        """Have pynetdicom send a primitive, at once even when the DUL waits for the peer."""
        super().send_pdu(primitive)  # type: ignore[arg-type]  # pynetdicom's own union of primitives
        with self._wake_lock:
            if not self._abandoned:
                os.eventfd_write(self._wake, 1)

    def _process_recv_primitive(self) -> bool:
        """Look for what the association wants to send.

        An abort of ours may come when the association is being aborted already, such as when both timers end at the
        same moment, or before anything was requested, when the gateway stops; pynetdicom's table has no place for it,
        and its thread would die of that.
        """
        if not isinstance(self.peek_to_send(), A_ABORT):
            return super()._process_recv_primitive()
        state = self.state_machine.current_state
        if state == _IDLE:
            return False  # its connection is being noted
        if state not in (_AWAITING_REQUEST, _AWAITING_CLOSE):
            return super()._process_recv_primitive()
        self.to_provider_queue.get(block=False)
        if state == _AWAITING_REQUEST:
            self.event_queue.put(_EVENT_TIMER_EXPIRED)  # what closes such a connection in PS3.8 table 9-10
            self._end_wait_for_request()
        return state == _AWAITING_REQUEST

    def peek_to_send(self) -> object:
        """Return the first of what the association wants to send, None when there is nothing."""
        return self.to_provider_queue.queue[0] if self.to_provider_queue.queue else None

    def _is_transport_event(self) -> bool:
        """Look for incoming data: what pynetdicom's reactor calls over and over."""
        if self.has_news() or self.state_machine.current_state != _ESTABLISHED:
            self.gate.let_turn()
        if not self.event_queue.empty():
            return False
        if self.state_machine.current_state == _ESTABLISHED:
            return self._receive()
        if self.state_machine.current_state != _AWAITING_REQUEST:
            return super()._is_transport_event()
        if not self._wait_for_request():
            return False
        came = super()._is_transport_event()
        if not self.event_queue.empty() and self.event_queue.queue[0] != _EVENT_REQUEST:
            self._end_wait_for_request()
        return came

    def stop_dul(self) -> bool:
        """Stop the reactor and return True, or False while the connection is in use.

        It may be stopped before it noted the connection; the association would wait for a request nobody reads.
        """
        stopped = super().stop_dul()
        if stopped:
            self._end_wait_for_request()
        return stopped

    def _end_wait_for_request(self) -> None:
        """Tell the association, which would hold its place until its timeout, that no request will come."""
        self.to_user_queue.put(None)  # what it gets at its timeout

    def has_news(self) -> bool:
        """Return whether something that came waits for the association's loop."""
        return self.peek_next_pdu() is not None or not self.assoc.dimse.msg_queue.empty()

    def _receive(self) -> bool:
        """Read and pass on for as long as there is data and nothing else to do; return whether any came."""
        came = False
        try:
            while (view := self._read()) is not None:
                if not view:
                    self.event_queue.put(_EVENT_CONNECTION_CLOSED)
                    return True
                came = True
                self._idle_timer.restart()
                for piece in self._stream.feed(view):
                    if isinstance(piece, Fragment):
                        self._take(piece)
                    else:
                        self._give_back(piece)
                self._check_deadline()
                if self._kill_thread or self.peek_to_send() is not None or not self.event_queue.empty():
                    return True
            self._check_deadline()
        except MalformedPdu as exc:
            log.warning("pdu_malformed", problem=str(exc))
            self.event_queue.put(_EVENT_INVALID_PDU)
        except OSError:  # reset by the peer
            self.event_queue.put(_EVENT_CONNECTION_CLOSED)
        return came

    def _read(self) -> memoryview | None:
        """Return what came, waiting a little for it: empty when the peer has closed, None when nothing came."""
        connection = self.socket.socket if self.socket is not None else None
        if connection is None:
            return None
        if self._buffer is None:
            self._buffer = memoryview(bytearray(BUFFER_BYTES))
        if isinstance(connection, ssl.SSLSocket):
            may_read = bool(connection.pending()) or self._wait(connection)
            return self._buffer[: connection.recv_into(self._buffer)] if may_read else None
        descriptor = connection.fileno()
        if self._arriving is not None:  # more is on its way: usually one system call instead of two
            with contextlib.suppress(BlockingIOError):
                return self._buffer[: os.readv(descriptor, [self._buffer])]
        return self._buffer[: os.readv(descriptor, [self._buffer])] if self._wait(connection) else None

    def _wait_for_request(self) -> bool:
        """Wait for a new connection's first bytes, for hundreds of silent ones must not be asked a thousand times."""
        connection = self.socket.socket if self.socket is not None else None
        if connection is None or (isinstance(connection, ssl.SSLSocket) and connection.pending()):
            return True
        return self._wait(connection)

    def _wait(self, connection: socket.socket) -> bool:
        """Wait until the peer sends something or there is something to send; return whether the former."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(connection, select.POLLIN)
            self._poll.register(self._wake, select.POLLIN)
        ready = {descriptor for descriptor, _ in self._poll.poll(WAIT_S * 1000)}
        if self._wake in ready:
            os.eventfd_read(self._wake)
            return False
        return bool(ready)

    def _check_deadline(self) -> None:
        """Give a peer up that does not finish a PDU in time; the idle timer knows only complete silence."""
        if not self._stream.within_pdu or self._pdu_timeout_s is None:
            self._pdu_under_way = None
            return
        now = time.monotonic()
        if self._pdu_under_way is None or self._pdu_under_way[0] != self._stream.pdus_begun:
            self._pdu_under_way = (self._stream.pdus_begun, now + self._pdu_timeout_s)
        elif now > self._pdu_under_way[1]:
            raise MalformedPdu("a PDU was not finished in time")

    def _take(self, fragment: Fragment) -> None:
        if fragment.is_command:
            self._take_command(fragment)
        elif self._request is not None and self._arriving is not None:
            if fragment.context_id != self._request.context_id:
                raise MalformedPdu("a dataset changes its presentation context")
            self._arriving.write(fragment.data)
            if fragment.is_last:
                self._finish()
        else:
            self._other_bytes += len(fragment.data)
            if self._other_bytes > MESSAGE_BYTES_MAX:
                raise MalformedPdu(f"a message of more than {MESSAGE_BYTES_MAX} bytes that is no C-STORE")
            self._give_back(p_data(fragment.context_id, fragment.data, is_command=False, is_last=fragment.is_last))

    def _take_command(self, fragment: Fragment) -> None:
        self._command += fragment.data
        if self._arriving is not None or len(self._command) > COMMAND_BYTES_MAX:
            raise MalformedPdu("a command in the middle of a dataset, or without an end")
        if not fragment.is_last:
            return
        command = bytes(self._command)
        self._command.clear()
        request = find_store_request(fragment.context_id, command)
        if request is None:
            self._other_bytes = 0
            self._give_back(p_data(fragment.context_id, command, is_command=True, is_last=True))
            return
        self._request, self._arriving = request, self._sink.begin(request)
        if self._arriving is None:
            raise MalformedPdu("C-STORE on a presentation context that is none for storage")
        if not request.has_dataset:
            self._finish()

    def _finish(self) -> None:
        """Have the object stored and answer; in this thread, so that nothing waits for another."""
        request, arriving = self._request, self._arriving
        if request is None or arriving is None or self.socket is None:
            return
        status, comment = self._sink.finish(request, arriving)
        self._request = self._arriving = None
        self.socket.send(store_response(request, status, comment, self.assoc.requestor.maximum_length or 0))
        self._sink.answered()
        self._idle_timer.restart()

    def _give_back(self, pdu: bytes) -> None:
        """Have pynetdicom deal with a whole PDU, as if it had read it."""
        try:
            decoded, event = self._decode_pdu(bytearray(pdu))
        except Exception as exc:  # pynetdicom's decoders raise anything on what they cannot read
            raise MalformedPdu(f"a PDU of type {pdu[0]} that cannot be decoded") from exc
        self.event_queue.put(event)
        self._recv_pdu.put(decoded)


def take_over(association: Association, sink: ObjectSink, pdu_timeout_s: float | None) -> ReceivingDul:
    """Replace the association's upper layer before it starts; return the new one, which is to be closed at the end."""
    dul = ReceivingDul(association, sink, pdu_timeout_s)
    dul.socket, dul.event_queue = association.dul.socket, association.dul.event_queue
    association.dul = dul
    association._reactor_checkpoint = dul.gate
    return dul
