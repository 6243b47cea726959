"""Speaks frames with Python's standard library alone, and checks every byte that comes back.

Usage: client.py HOST PORT. Prints `ok` and the number of frames; anything else is a failure.
"""

import random
import socket
import struct
import sys
import threading

TIMEOUT_SECONDS = 30


def connect():
    connection = socket.create_connection((HOST, PORT), timeout=TIMEOUT_SECONDS)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def encode(payload):
    return struct.pack("!I", len(payload)) + payload


def receive(stream):
    """The next payload; None at the end of the stream."""
    header = stream.read(4)
    if not header:
        return None
    (payload_len,) = struct.unpack("!I", header)
    payload = stream.read(payload_len)
    assert len(payload) == payload_len, f"{len(payload)} of {payload_len} bytes came"
    return payload


def one_at_a_time(payloads):
    with connect() as connection, connection.makefile("rb") as stream:
        for payload in payloads:
            connection.sendall(encode(payload))
            assert receive(stream) == payload
    return len(payloads)


def pipelined(payloads):
    """All frames and then FIN from one thread, while this one reads the replies and then the server's FIN."""
    with connect() as connection, connection.makefile("rb") as stream:

        def send():
            connection.sendall(b"".join(map(encode, payloads)))
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        replies = list(iter(lambda: receive(stream), None))
        sender.join()
    assert replies == payloads, f"{len(replies)} replies to {len(payloads)} frames"
    return len(payloads)


def byte_by_byte(payload):
    with connect() as connection, connection.makefile("rb") as stream:
        for byte in encode(payload):
            connection.sendall(bytes([byte]))
        assert receive(stream) == payload
    return 1


def main():
    numbers = random.Random(1)
    lens = [0, 1, 4, 255, 256, 65_535, 65_536, 69_628, 69_629, 200_000, 1_000_000]
    payloads = [numbers.randbytes(length) for length in lens]
    small = [numbers.randbytes(numbers.randrange(300)) for _ in range(2_000)]
    frames = one_at_a_time(payloads) + pipelined(payloads) + pipelined(small) + pipelined([])
    frames += byte_by_byte("größer".encode())
    print("ok", frames)


if __name__ == "__main__":
    HOST, PORT = sys.argv[1], int(sys.argv[2])
    main()
