"""Python's asyncio on uvloop: a Protocol, frames parsed by hand.

The fast form of asyncio: no streams and no coroutines, and one write for all
the whole frames that a read brought, which are sent as they came when nothing
of an earlier one is kept. The rest of a large frame is read straight into a
buffer of its own, by a BufferedProtocol that takes over for as long. While the
transport's buffer is over its mark the client is not read, so that one that
never reads costs little.
"""

import asyncio
import resource
import sys
from struct import Struct

import uvloop

HEADER = Struct(">I")
PAYLOAD_MAX = 64 * 1024 * 1024
BACKLOG = 4096
LARGE = 128 * 1024
SLACK = 4096


def frame_len(data, at):
    (payload_len,) = HEADER.unpack_from(data, at)
    if payload_len > PAYLOAD_MAX:
        raise ValueError("the frame is too long")
    return HEADER.size + payload_len


def whole_frames(data):
    """How many of these bytes are whole frames."""
    end, size = 0, len(data)
    while size - end >= HEADER.size:
        next_end = end + frame_len(data, end)
        if next_end > size:
            break
        end = next_end
    return end


class Backpressure:
    """A client that does not read its replies is not read."""

    __slots__ = ()

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def hand_over(self, protocol):
        """Lets another read on; how a transport reads is settled when it begins to."""
        reading = self.transport.is_reading()
        self.transport.pause_reading()
        self.transport.set_protocol(protocol)
        if reading:
            self.transport.resume_reading()


class Echo(Backpressure, asyncio.Protocol):
    __slots__ = ("transport", "kept")

    def connection_made(self, transport):
        # uvloop has set TCP_NODELAY.
        self.transport = transport
        self.kept = b""

    def data_received(self, data):
        if self.kept:
            data = self.kept + data
        try:
            whole = whole_frames(data)
            if whole == len(data):
                self.kept = b""
                self.transport.write(data)
                return
            if whole > 0:
                self.transport.write(data[:whole])
                data = data[whole:]
            self.keep(data)
        except ValueError:
            self.transport.close()

    def keep(self, data):
        """These bytes begin a frame."""
        if len(data) >= HEADER.size and frame_len(data, 0) > LARGE:
            self.kept = b""
            self.hand_over(LargeFrame(self, data))
        else:
            self.kept = data


class LargeFrame(Backpressure, asyncio.BufferedProtocol):
    """Reads the rest of one frame, and not a byte more."""

    __slots__ = ("transport", "echo", "frame_len", "buffer", "filled")

    def __init__(self, echo, begin):
        self.transport = echo.transport
        self.echo = echo
        self.frame_len = frame_len(begin, 0)
        self.filled = len(begin)
        self.buffer = bytearray()
        self.grow(begin)

    def grow(self, begin):
        """At most twice what came, whatever was announced."""
        grown = bytearray(min(self.frame_len, 2 * self.filled + SLACK))
        grown[: self.filled] = begin
        self.buffer = grown

    def get_buffer(self, _):
        if self.filled == len(self.buffer):
            self.grow(self.buffer)
        return memoryview(self.buffer)[self.filled :]

    def buffer_updated(self, received):
        self.filled += received
        if self.filled == self.frame_len:
            self.transport.write(self.buffer)
            self.hand_over(self.echo)


async def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=BACKLOG)
    print("listening on 127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
