"""Python's asyncio on uvloop: a Protocol, frames parsed by hand.

The fast form of asyncio: no streams and no coroutines; one write for all the
whole frames that a read brought, which are sent as they came when nothing of
an earlier one is kept. A large frame is kept as the pieces that came, and goes
back as these, never joined. While the transport's buffer is over its mark the
client is not read, so that one that never reads costs little.
"""

import asyncio
import resource
import sys
from struct import Struct

import uvloop

HEADER = Struct(">I")
PAYLOAD_MAX = 64 * 1024 * 1024
BACKLOG = 4096
# Shorter pieces are joined: a frame that comes byte by byte is no list of bytes.
PIECE = 16 * 1024


def frame_len(data, at):
    (payload_len,) = HEADER.unpack_from(data, at)
    if payload_len > PAYLOAD_MAX:
        raise ValueError("the frame is too long")
    return HEADER.size + payload_len


def whole_frames(data):
    """How many of these bytes are whole frames."""
    end, size = 0, len(data)
    while size - end >= HEADER.size:
        frame = frame_len(data, end)
        if end + frame > size:
            break
        end += frame
    return end


class Echo(asyncio.Protocol):
    __slots__ = ("transport", "pieces", "kept", "missing")

    def connection_made(self, transport):
        # uvloop has set TCP_NODELAY.
        self.transport = transport
        self.forget()

    def forget(self):
        """Nothing of a frame is kept."""
        self.pieces = None
        self.kept = 0
        # Bytes without which the frame that is kept cannot be whole.
        self.missing = 0

    def data_received(self, data):
        try:
            if self.kept == 0:
                self.reply(data)
            else:
                self.resume(data)
        except ValueError:
            self.transport.close()

    def reply(self, data):
        """Answers bytes that begin with a frame, and keeps the last if it is partial."""
        whole = whole_frames(data)
        if whole == len(data):
            self.transport.write(data)
            return
        if whole > 0:
            self.transport.write(data[:whole])
            data = data[whole:]
        self.keep(data)

    def resume(self, data):
        """These bytes belong to a frame of which the beginning is kept."""
        if len(data) < self.missing:
            self.keep(data)
        elif self.kept < HEADER.size:
            data = b"".join(self.pieces) + data
            self.forget()
            self.reply(data)
        else:
            pieces, missing = self.pieces, self.missing
            self.forget()
            pieces.append(data[:missing])
            self.transport.writelines(pieces)
            if len(data) > missing:
                self.reply(data[missing:])

    def keep(self, data):
        if self.pieces and len(self.pieces[-1]) < PIECE:
            self.pieces[-1] += data
        elif self.pieces:
            self.pieces.append(data)
        else:
            self.pieces = [data]
        self.kept += len(data)
        if self.kept < HEADER.size:
            self.missing = HEADER.size - self.kept
        elif self.kept - len(data) < HEADER.size:
            self.missing = frame_len(self.pieces[0], 0) - self.kept
        else:
            self.missing -= len(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def eof_received(self):
        # The transport closes when all is written.
        return False


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
