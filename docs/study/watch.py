"""Clients for the exercises of docs/study/watching.md.

    python3 docs/study/watch.py EXERCISE

Each opens a connection to the server, prints the address of its live page, and goes through the exercise step by step. On a
terminal, each step waits for Enter. At the end it prints events that the server has recorded of the connection.
"""

import json
import socket
import sys
import threading
import time
import urllib.request

SERVER = ("127.0.0.1", 7007)
ADMIN = "http://127.0.0.1:7010"


def frame(length):
    return length.to_bytes(4, "big") + bytes(length)


def ask(path):
    with urllib.request.urlopen(ADMIN + path) as response:
        return json.load(response)


def budgets():
    """How often each budget was spent."""
    with urllib.request.urlopen(ADMIN + "/metrics") as response:
        lines = response.read().decode().splitlines()
    found = [line.split('"') for line in lines if line.startswith("frameloop_budgets_spent_total{")]
    return {budget: int(rest.split()[-1]) for _, budget, rest in found}


class Client:
    def __init__(self, narrow=False):
        self.socket = socket.socket()
        if narrow:  # A small buffer: little is on its way while the client does not read.
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(SERVER)
        peer = "{}:{}".format(*self.socket.getsockname())
        listed = ask("/connections?top=idle&n=100")["top"]
        self.id = next(connection["id"] for connection in listed if connection["peer"] == peer)
        self.detail()  # Events are recorded from here on.
        print(f"watch {ADMIN}/#connection={self.id}")

    def detail(self):
        return ask(f"/connections/{self.id}")

    def wait(self, holds):
        """Waits until the server reports what is expected, and prints the state, the pending bytes and the deadlines."""
        while not holds(detail := self.detail()):
            time.sleep(0.02)
        paused = f", reading paused: {detail['paused_by']}" if detail["paused_by"] else ""
        closed = f", {detail['closed']}" if detail["closed"] else ""
        running = ", ".join(deadline["kind"] for deadline in detail["deadlines"]) or "none"
        pending = f"input {detail['pending_input']}, output {detail['pending_output']}"
        print(f"  {detail['state']}{paused}{closed}; pending {pending}; deadlines: {running}")

    def read(self, length):
        while length > 0:
            length -= len(self.socket.recv(min(length, 1 << 16)))

    def show(self, *texts, last=20):
        """Prints the last events; with texts, of those that contain one."""
        events = [event for event in self.detail()["events"] if not texts or any(text in event["text"] for text in texts)]
        for event in events[-last:]:
            print(f"  {event['kind']:8} {event['text']}")


def step(text):
    print(text, flush=True)
    if sys.stdin.isatty():
        input("  (Enter) ")


def echo():
    client = Client()
    step("send one frame of 5 bytes")
    client.socket.sendall(frame(5))
    client.read(9)
    client.wait(lambda detail: detail["frames_in"] == 1)
    client.show()


def pieces():
    client = Client()
    step("send 2 of the 4 bytes of a header")
    client.socket.sendall(frame(5)[:2])
    client.wait(lambda detail: detail["pending_input"] == 2)
    step("send the rest")
    client.socket.sendall(frame(5)[2:])
    client.read(9)
    client.wait(lambda detail: detail["pending_input"] == 0)
    client.show()


def stall():
    client = Client(narrow=True)
    step("send 8 frames of 1 MiB, and read no reply")
    sender = threading.Thread(target=client.socket.sendall, args=(8 * frame(1 << 20),))
    sender.start()
    client.wait(lambda detail: detail["paused_by"] == "backpressure")
    step("read all replies")
    client.read(8 * len(frame(1 << 20)))
    sender.join()
    client.wait(lambda detail: detail["paused_by"] is None and detail["pending_output"] == 0)
    client.show("callback: on_writable", "(paused by backpressure) -> Open:", last=2)


def finish():
    client = Client(narrow=True)
    step("send a frame of 8 MiB, end the sending side, and read nothing")
    client.socket.sendall(frame(8 << 20)[:-1000])
    client.socket.sendall(bytes(1000), socket.MSG_MORE)  # Sent with the FIN, so that both are read together.
    client.socket.shutdown(socket.SHUT_WR)
    client.wait(lambda detail: detail["state"] == "Flushing")
    step("read the reply")
    client.read(len(frame(8 << 20)))
    client.wait(lambda detail: detail["closed"])
    client.show("on_half_close", "Open -> ", "-> Closed", "closed: ", last=4)


def never():
    client = Client(narrow=True)
    step("send a frame of 8 MiB, and never read")
    client.socket.sendall(frame(8 << 20))
    client.wait(lambda detail: detail["pending_output"] > 0)
    step("wait for the write timeout")
    client.wait(lambda detail: detail["closed"])
    client.show("deadline: ", "closed: ", last=2)
    try:
        client.read(8 << 20)
    except OSError as error:
        print(f"  recv of the client: {error}")


def flood():
    before = budgets()
    bystander = Client()
    is_over = threading.Event()

    def send(flooder):
        while not is_over.is_set():
            flooder.sendall(frame(4 << 20))

    def receive(flooder):
        while flooder.recv(1 << 20):
            pass

    def ping():
        times = []
        for _ in range(200):
            begun = time.perf_counter()
            bystander.socket.sendall(frame(5))
            bystander.read(9)
            times.append(time.perf_counter() - begun)
        return sorted(times)

    step("send 200 frames of 5 bytes, one after the other")
    quiet = ping()
    step("the same while 4 clients send frames of 4 MiB without pause")
    flooders = [socket.create_connection(SERVER) for _ in range(4)]
    threads = [threading.Thread(target=work, args=(flooder,), daemon=True) for flooder in flooders for work in (send, receive)]
    for thread in threads:
        thread.start()
    time.sleep(3)  # For some samples, which come each second.
    loud = ping()
    is_over.set()
    sample = ask("/v1/samples")["samples"][-1]
    spent = ", ".join(f"{name} {count - before[name]}" for name, count in budgets().items() if name in ("read", "turn"))
    print(f"  median round trip: {1e3 * quiet[100]:.2f} ms alone, {1e3 * loud[100]:.2f} ms with the flood")
    print(f"  turns of the last second: p50 {1e3 * sample['turn_p50']:.2f} ms, p99 {1e3 * sample['turn_p99']:.2f} ms")
    print(f"  budgets spent: {spent}; lints: {', '.join(sample['lints']) or 'none'}")


if __name__ == "__main__":
    exercises = {exercise.__name__: exercise for exercise in (echo, pieces, stall, finish, never, flood)}
    if len(sys.argv) != 2 or sys.argv[1] not in exercises:
        sys.exit(f"usage: python3 docs/study/watch.py {'|'.join(exercises)}")
    exercises[sys.argv[1]]()
