#!/usr/bin/env python3
"""A frame is a 4-byte big-endian length, then that many bytes of payload.

As a program, `client.py HOST PORT` sends each line of stdin as a frame, without
its newline, and writes the payload of each reply as a line.
"""

import socket
import struct
import sys

HEADER = struct.Struct(">I")  # unsigned, 4 bytes, big-endian
REPLY_MAX = 16 << 20  # refuse a longer reply


class Client:
    """One connection that sends and receives frames."""

    def __init__(self, host, port, timeout=5.0):
        self.sock = socket.create_connection((host, port), timeout)
        # Send a frame at once, even while an earlier one is not acknowledged.
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, payload):
        """Send one frame. `sendall` continues until the socket has taken all of it."""
        self.sock.sendall(HEADER.pack(len(payload)) + payload)

    def receive(self):
        """Return the next frame's payload, or None after the server's FIN."""
        header = self._read(HEADER.size)
        if not header:
            return None
        if len(header) < HEADER.size:
            raise ConnectionError("the server finished inside a header")
        (payload_len,) = HEADER.unpack(header)
        if payload_len > REPLY_MAX:
            raise ConnectionError(f"a reply of {payload_len} bytes was announced")
        payload = self._read(payload_len)
        if len(payload) < payload_len:
            raise ConnectionError("the server finished inside a payload")
        return payload

    def finish(self):
        """Send FIN: no more frames. Pending replies can still be received."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def _read(self, length):
        """Return exactly `length` bytes, or fewer if the stream has ended.

        TCP keeps no boundaries: one `recv` may return a part of a header, or the end
        of one frame and the beginning of the next. So ask only for what is missing,
        until it is complete. Memory grows only with what has arrived.
        """
        received = bytearray()
        while len(received) < length:
            chunk = self.sock.recv(min(length - len(received), 1 << 16))
            if not chunk:
                break
            received += chunk
        return bytes(received)


def main():
    client = Client(sys.argv[1], int(sys.argv[2]))
    for line in sys.stdin.buffer:
        client.send(line.rstrip(b"\n"))
        reply = client.receive()
        if reply is None:
            sys.exit("the server has closed the connection")
        sys.stdout.buffer.write(reply + b"\n")
        sys.stdout.buffer.flush()
    client.close()


if __name__ == "__main__":
    main()
