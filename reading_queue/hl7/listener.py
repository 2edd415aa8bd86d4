"""A listener for order messages: MLLP over TLS, a certificate of the configured CA on both sides.

Nothing is durable here: `order_messages.intake` keeps each message before it is answered. What a connection is cut off
in the middle of was not acknowledged, and nothing of it stays. Whoever is not let in is told in the log, in words, and
counted for the administrators' page (`order_messages.connections`).
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from reading_queue.heartbeat import BEAT_EVERY_S
from reading_queue.services.hub import Hub
from reading_queue.services.order_messages.connections import note_refusals
from reading_queue.services.order_messages.intake import decide_waiting, refuse_long, take_message
from reading_queue.services.order_messages.senders import OrderSender, recognise
from storage.hl7.faults import ErrorCode, Fault
from storage.hl7.framing import READ_BYTES, UNFRAMED, Frames, FrameTooLong, frame
from storage.hl7.order_answers import Verdict, answer_orders, kind_of_answer, try_reading
from storage.screens.offload import Offload
from storage.tls import HANDSHAKE_S_MAX, CertificateUnusable, WatchedContext, explain_handshake

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 60.0  # for what was kept and not decided on
COUNT_EVERY_S: Final = 1.0  # refused connections are written, and the certificate files looked at, as often
REFUSED_MAX: Final = 500  # addresses and reasons, between two writings; the log has the others
SKIPPED_BYTES_MAX: Final = 256 * 1024 * 1024  # of one message that is too long; then the connection is closed
STOP_S: Final = 5.0  # for messages that are being decided on
ACCEPT_AGAIN_S: Final = 1.0  # after the machine had no file left for a connection
TLS_CLOSE_S: Final = 2.0
NOBODY: Final = "its certificate belongs to no configured sender"
TOO_MANY: Final = "too many connections are open"
TOO_MANY_OF_SENDER: Final = "this sender has too many connections open"
UNABLE: Final = "the hub cannot take the message at the moment: send it again later"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one listener takes. Seconds: of silence on a connection, and of one message from begin to end."""

    message_bytes_max: int
    connections_max: int
    connections_per_sender_max: int
    idle_s: float
    message_s: float


class ConnectionTooSlow(Exception):
    """Nothing came for too long, or a message did not end in time."""


class SenderGone(Exception):
    """The settings do not name the sender of this connection by this certificate any more."""


class OrderListener:
    """Takes messages of the hub's senders. Used by one event loop; what is decided is decided in threads of `run`."""

    def __init__(self, hub: Hub, tls: WatchedContext, limits: Limits, run: Offload) -> None:
        if tls.context.verify_mode is not ssl.CERT_REQUIRED:
            raise ValueError("orders are taken from those alone who show a certificate")
        self._hub, self._tls, self._limits, self._run = hub, tls, limits, run
        self._connections: set[asyncio.Task[None]] = set()
        self._of_sender: Counter[str] = Counter()
        self._refused: Counter[tuple[str, str]] = Counter()
        self._answering = 0
        self._quiet = asyncio.Event()

    async def serve(self, listening: socket.socket, beat: Callable[[], None]) -> None:
        """Take messages until SIGTERM or SIGINT; call `beat` for as long as the event loop turns."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await self.listen(listening, stop, beat)

    async def listen(self, listening: socket.socket, stop: asyncio.Event, beat: Callable[[], None]) -> None:
        """Take messages until `stop` is set."""
        listening.settimeout(0)
        log.info("hl7_listens", port=listening.getsockname()[1], senders=len(self._hub.order_senders))
        tasks = [asyncio.create_task(self._accept(listening)), asyncio.create_task(self._look_after())]
        try:
            while not stop.is_set():
                beat()
                with contextlib.suppress(TimeoutError):  # nothing told it to stop
                    await asyncio.wait_for(stop.wait(), BEAT_EVERY_S)
        finally:
            listening.close()
            await self._end(tasks)

    async def _end(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """Let what is being decided on be answered, then close every connection."""
        for task in tasks:
            task.cancel()
        if self._answering:
            with contextlib.suppress(TimeoutError):  # decided on all the same; the sender hears it when it repeats it
                await asyncio.wait_for(self._quiet.wait(), STOP_S)
        for connection in list(self._connections):
            connection.cancel()
        await asyncio.gather(*tasks, *self._connections, return_exceptions=True)

    async def _look_after(self) -> None:
        loop, look_at = asyncio.get_running_loop(), 0.0
        while True:
            await self._read_certificates_again()
            try:
                if loop.time() >= look_at:
                    await self._run(decide_waiting, self._hub)
                    look_at = loop.time() + LOOK_EVERY_S
                await self._write_refusals()
            except Exception:  # the database may be away; it is looked again
                log.exception("order_messages_not_looked_at")
            await asyncio.sleep(COUNT_EVERY_S)

    async def _read_certificates_again(self) -> None:
        try:
            if await self._run(self._tls.read_again):
                log.info("hl7_certificates_read_again")
        except CertificateUnusable as exc:  # those that were read before count on
            log.error("hl7_certificates_unusable", reason=str(exc))

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(listening)
            except OSError as exc:
                log.error("hl7_cannot_accept", reason=type(exc).__name__)
                await asyncio.sleep(ACCEPT_AGAIN_S)
                continue
            if len(self._connections) >= self._limits.connections_max:
                self.refuse(address[0], TOO_MANY)
                connection.close()
                continue
            task = asyncio.create_task(self._serve(connection, address[0]))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket, address: str) -> None:
        try:
            reader, writer = await self._secure(connection)
        except OSError as exc:
            self.refuse(address, explain_handshake(exc))
            return
        try:
            await self._serve_sender(reader, writer, address)
        except (OSError, FrameTooLong, ConnectionTooSlow) as exc:
            log.info("hl7_connection_ended", address=address, reason=type(exc).__name__)
        except Exception:  # the border of a connection: the peer gets no answer and sends again
            log.exception("hl7_connection_failed", address=address)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _secure(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the connection under TLS. Raises OSError when the peer is refused."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(READ_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        async with asyncio.timeout(HANDSHAKE_S_MAX):  # what fails closes the socket
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._tls.context, ssl_shutdown_timeout=TLS_CLOSE_S
            )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _serve_sender(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        sender = self.sender_of(shown) if shown else None
        if sender is None:
            self.refuse(address, NOBODY)
            return
        if self._of_sender[sender.name] >= self._limits.connections_per_sender_max:
            self.refuse(address, TOO_MANY_OF_SENDER, sender.name)
            return
        self._of_sender[sender.name] += 1
        try:
            await _Conversation(self, sender, shown, reader, writer, address).talk()
        except SenderGone:
            self.refuse(address, NOBODY, sender.name)
        finally:
            self._of_sender[sender.name] -= 1

    def sender_of(self, certificate: bytes) -> OrderSender | None:
        """Return whose certificate (DER) this is, as the settings are at this moment, None where it is nobody's."""
        return recognise(self._hub.order_senders.values(), certificate)

    async def answer(self, sender: OrderSender, message: bytes, address: str) -> bytes:
        """Return the answer to a message; AE where it cannot be kept or decided on now."""
        return await self._offload(partial(take_message, self._hub, sender, message, address), sender, message)

    async def answer_long(self, sender: OrderSender, head: bytes, address: str) -> bytes:
        """Return the answer to a message that is too long, out of how it begins."""
        work = partial(refuse_long, self._hub, sender, head, address, self._limits.message_bytes_max)
        return await self._offload(work, sender, head)

    async def _offload(self, work: Callable[[], bytes], sender: OrderSender, message: bytes) -> bytes:
        try:
            return await self._run(work)
        except Exception:  # database away, disk full: the sender keeps the message and sends it again
            log.exception("order_message_not_taken", sender=sender.name, site_id=sender.site_id)
            read = try_reading(message, sender.character_set)
            verdict = Verdict("AE", kind_of_answer(read), (Fault("MSH-10", ErrorCode.INTERNAL_ERROR, UNABLE),))
            return answer_orders(verdict, read, sender.character_set, self._hub.clock())

    def refuse(self, address: str, why: str, sender: str = "") -> None:
        """Tell in the log, and count for the administrators' page, what was not let in, and why."""
        log.warning("hl7_connection_refused", address=address, why=why, sender=sender)
        if (address, why) in self._refused or len(self._refused) < REFUSED_MAX:
            self._refused[address, why] += 1

    async def _write_refusals(self) -> None:
        counted, self._refused = self._refused, Counter()
        if counted:
            await self._run(note_refusals, self._hub, counted)

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Say that a message is being answered, which a stop waits for."""
        self._answering += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering:
                self._quiet.set()

    @property
    def limits(self) -> Limits:
        """How much it takes."""
        return self._limits


class _Conversation:
    """One connection of a sender: message, answer, message, answer."""

    def __init__(
        self,
        listener: OrderListener,
        sender: OrderSender,
        certificate: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        address: str,
    ) -> None:
        self._listener, self._address = listener, address
        self._name, self._certificate = sender.name, certificate
        self._reader, self._writer = reader, writer
        self._frames = Frames(listener.limits.message_bytes_max)
        self._ends_at = 0.0  # when the message that has begun must have ended, on the loop's clock

    async def talk(self) -> None:
        """Answer until the sender closes. Raises ConnectionTooSlow, FrameTooLong (without end), SenderGone, OSError."""
        is_told = False
        while data := await self._read():
            while data:
                try:
                    messages, data = self._frames.feed(data), b""
                except FrameTooLong as exc:
                    await self._answer(exc.before)
                    with self._listener.answering():
                        await self._send(await self._listener.answer_long(self._sender(), exc.head, self._address))
                    data = await self._read_past()
                    self._ends_at = 0.0
                else:
                    await self._answer(messages)
            if self._frames.has_dropped and not is_told:
                self._listener.refuse(self._address, UNFRAMED, self._name)
                is_told = True

    async def _answer(self, messages: Iterable[bytes]) -> None:
        for message in messages:
            with self._listener.answering():
                await self._send(await self._listener.answer(self._sender(), message, self._address))
            self._ends_at = 0.0

    def _sender(self) -> OrderSender:
        """Return the sender as the settings name it now. Raises SenderGone: its certificate is not its own any more."""
        sender = self._listener.sender_of(self._certificate)
        if sender is None or sender.name != self._name:
            raise SenderGone
        return sender

    async def _send(self, answer: bytes) -> None:
        self._writer.write(frame(answer))
        try:
            async with asyncio.timeout(self._listener.limits.idle_s):
                await self._writer.drain()
        except TimeoutError as exc:
            raise ConnectionTooSlow from exc

    async def _read(self) -> bytes:
        """Return what came; a message that has begun must end in its time, whatever trickles in."""
        now, limits = asyncio.get_running_loop().time(), self._listener.limits
        if not self._frames.in_message:
            self._ends_at, until = 0.0, now + limits.idle_s
        else:
            self._ends_at = until = self._ends_at or now + limits.message_s
        try:
            async with asyncio.timeout_at(until):
                return await self._reader.read(READ_BYTES)
        except TimeoutError as exc:
            raise ConnectionTooSlow from exc

    async def _read_past(self) -> bytes:
        """Return what came after the end of the message that is too long. Raises FrameTooLong when it has none."""
        skipped_bytes, rest = 0, self._frames.skip(b"")
        while rest is None:
            data = await self._read()
            skipped_bytes += len(data)
            if not data or skipped_bytes > SKIPPED_BYTES_MAX:
                raise FrameTooLong("a message without end")
            rest = self._frames.skip(data)
        return rest
