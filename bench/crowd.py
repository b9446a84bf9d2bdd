"""Clients for the server's benchmarks.

crowd.py hold PORT COUNT: connections that are idle or drip, opened again when the server closes
them, until the input ends; prints "ready" once all are open.
crowd.py ask PORT TOKEN PATH CLIENTS SECONDS RATE: each client sends a request RATE times a second
and waits for its answer; prints {"p50_ms","p99_ms","requests","failed"}.
"""

import json
import multiprocessing
import resource
import selectors
import socket
import sys
import time

HEAD = b"GET /api/v1/limits HTTP/1.1\r\nHost: localhost\r\n"
DRIP = HEAD + b"X-Slow: " + b"y" * 5000


class Held:
    """A third never sends, a third is idle after a request, a third sends a byte a second."""

    def __init__(self, port, kind):
        self.port, self.kind = port, kind
        self.open()

    def open(self):
        self.sock = socket.create_connection(("127.0.0.1", self.port))
        self.at = 0
        if self.kind == "used":
            self.sock.sendall(HEAD + b"\r\n")
        self.sock.setblocking(False)

    def drip(self):
        try:
            self.at += self.sock.send(DRIP[self.at : self.at + 1])
        except OSError:
            pass  # it is closed, and seen so at the next read

    def ended(self):
        try:
            return self.sock.recv(65536) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True


def hold(port, count):
    kinds = ("fresh", "used", "dripping")
    selector = selectors.DefaultSelector()
    held = [Held(port, kinds[i % 3]) for i in range(count)]
    for each in held:
        selector.register(each.sock, selectors.EVENT_READ, each)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    dripping = [each for each in held if each.kind == "dripping"]
    print("ready", flush=True)
    turn = 0
    while True:
        # A hundredth of them drips every 10 ms, so that no burst of all comes once a second.
        for each in dripping[turn % 100 :: 100]:
            each.drip()
        turn += 1
        end = time.monotonic() + 0.01
        for key, _ in selector.select(0.01):
            if key.data is None:
                return
            if key.data.ended():
                selector.unregister(key.data.sock)
                key.data.sock.close()
                key.data.open()
                selector.register(key.data.sock, selectors.EVENT_READ, key.data)
        time.sleep(max(0.0, end - time.monotonic()))


def ask_one(port, request, seconds, rate, seed, results):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    times, failed = [], 0
    due = time.perf_counter() + seed / rate / 10
    end = due + seconds
    while due < end:
        time.sleep(max(0.0, due - time.perf_counter()))
        start = time.perf_counter()
        sock.sendall(request)
        answer = sock.recv(65536)
        times.append(time.perf_counter() - start)
        failed += not answer.startswith(b"HTTP/1.1 200")
        due = max(due + 1 / rate, start)
    results.put((times, failed))


def ask(port, token, path, clients, seconds, rate):
    request = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    ).encode()
    results = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=ask_one, args=(port, request, seconds, rate, i, results))
        for i in range(clients)
    ]
    for process in processes:
        process.start()
    times, failed = [], 0
    for _ in processes:
        some, wrong = results.get()
        times += some
        failed += wrong
    for process in processes:
        process.join()
    times.sort()
    told = {
        "p50_ms": round(times[len(times) // 2] * 1000, 3),
        "p99_ms": round(times[len(times) * 99 // 100] * 1000, 3),
        "requests": len(times),
        "failed": failed,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if sys.argv[1] == "hold":
        hold(int(sys.argv[2]), int(sys.argv[3]))
    else:
        port, token, path, clients, seconds, rate = sys.argv[2:]
        ask(int(port), token, path, int(clients), float(seconds), float(rate))
