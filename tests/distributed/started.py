"""What torchrun starts in the tests: it has a process that imported everything fork the rank, and is its shadow.

It ends as the rank does, and hands on the signals that it gets. ``started.py SOCKET FOLDER arguments of ganfeat``
"""

import json
import os
import signal
import socket
import sys
import time


def ask(order: dict) -> int | None:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(sys.argv[1])
        asking.sendall(json.dumps(order).encode() + b"\n")
        return json.loads(asking.makefile().readline())


if __name__ == "__main__":
    place = f"{sys.argv[2]}/{os.environ['TORCHELASTIC_RESTART_COUNT']}-{os.environ['RANK']}"
    pid = ask({"run": sys.argv[3:], "env": dict(os.environ), "to": f"{place}.said"})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    with open(f"{place}.pid", "w") as file:  # noqa: PTH123
        file.write(f"{pid}\n")
    while (status := ask({"ended": pid})) is None:
        time.sleep(0.03)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL) if -status != signal.SIGKILL else None
        os.kill(os.getpid(), -status)
    sys.exit(status)
