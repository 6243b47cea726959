"""Python's standard library: a thread a client, blocking.

As a careful user writes it: small stacks, and one sendall for all the whole
frames that a recv brought, which are sent as they came when nothing of an
earlier one is kept. A client that does not read holds up its own thread alone.
"""

import resource
import socket
import sys
import threading
import time
from struct import Struct

HEADER = Struct(">I")
PAYLOAD_MAX = 64 * 1024 * 1024
BACKLOG = 4096
STACK = 128 * 1024
ROOM = 64 * 1024


def whole_frames(data):
    """How many of these bytes are whole frames."""
    end, size = 0, len(data)
    while size - end >= HEADER.size:
        (payload_len,) = HEADER.unpack_from(data, end)
        if payload_len > PAYLOAD_MAX:
            raise ValueError("the frame is too long")
        if end + HEADER.size + payload_len > size:
            break
        end += HEADER.size + payload_len
    return end


def echo(client):
    kept = bytearray()
    # A recv's buffer is promised before anything comes, so it starts small.
    room = 4096
    while data := client.recv(room):
        room = min(2 * room, ROOM) if len(data) == room else room
        if kept:
            kept += data
            data = kept
        whole = whole_frames(data)
        if whole == len(data):
            client.sendall(data)
            kept = bytearray()
        elif whole > 0:
            with memoryview(data) as view:
                client.sendall(view[:whole])
                kept = bytearray(view[whole:])
        elif data is not kept:
            kept = bytearray(data)


def serve(client):
    try:
        with client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            echo(client)
    except (OSError, ValueError):
        pass  # the client is told by the end of its connection


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.stack_size(STACK)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with socket.create_server(("127.0.0.1", port), backlog=BACKLOG) as listener:
        print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
        while True:
            try:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()
            except (OSError, RuntimeError):
                # Too many descriptors or threads: some client will end.
                time.sleep(0.001)


if __name__ == "__main__":
    main()
