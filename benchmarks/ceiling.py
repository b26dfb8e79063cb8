"""The most hooks a second that one process answers, beside a CDS Hooks framework that does nothing else.

    python3 -m venv DIR && DIR/bin/pip install 'healthchain==0.16.*'
    python -m benchmarks.ceiling --healthchain DIR/bin/python [--seconds 5] [--rounds 3]

Closed loop over loopback, the same requests to each, in turn, so that what else the machine does troubles them alike.
HealthChain answers one constant card: no authentication, no store, no check of what it sends. LeukoCDS does all its
work: prefetch checked, smear looked up in the store, card made, validated and remembered; and with a JWT on each
request besides. Processor time is the server's own, so it hardly depends on who else is at work. Loopback only.
"""

import argparse
import http.client
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.hooks import PATIENTS, _authorization, _body, _connect, _server, free_port
from hooks.signing import Signer

CONNECTIONS = 8
_PATH = "/cds-services/leukemia-smear"
_ONE_CARD = """
import sys
import uvicorn
from healthchain.gateway import CDSHooksService, HealthChainAPI
from healthchain.models.requests.cdsrequest import CDSRequest
from healthchain.models.responses.cdsresponse import Card, CDSResponse

service = CDSHooksService()

@service.hook("patient-view", id="one-card", title="One card", description="Always the same card")
def one_card(request: CDSRequest) -> CDSResponse:
    return CDSResponse(cards=[Card(summary="AML pattern", indicator="info", source={"label": "Benchmark"})])

app = HealthChainAPI()
app.register_service(service, path="/cds")
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", access_log=False)
"""


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    port: int
    path: str
    #: Processes that answer.
    pids: tuple[int, ...]
    signer: Signer | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--healthchain", metavar="PYTHON", help="interpreter that has HealthChain installed")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (at most 30)")
    parser.add_argument("--rounds", type=int, default=3, help="at most 10")
    options = parser.parse_args()
    if not 0 < options.seconds <= 30 or not 0 < options.rounds <= 10:
        parser.error("--seconds must be above 0 and at most 30, --rounds from 1 to 10")
    signer = Signer.new("https://ehr.example", lifetime_s=300)
    with (
        tempfile.TemporaryDirectory() as name,
        _ours(Path(name) / "open", None) as ours,
        _ours(Path(name) / "jwt", signer) as ours_with_jwt,
        _healthchain(options.healthchain) as other,
    ):
        servers = [ours, ours_with_jwt, *other]
        runs: dict[str, list[tuple[float, float]]] = {server.name: [] for server in servers}
        for _ in range(options.rounds):
            for server in servers:
                runs[server.name].append(_closed_loop(server, options.seconds))
    for server in servers:
        rates, busy = zip(*runs[server.name], strict=True)
        print(
            f"{server.name:24} {statistics.median(rates):6.0f} hooks/s (from {min(rates):.0f} to {max(rates):.0f})   "
            f"{1000 * statistics.median(busy):.2f} ms of processor time each"
        )
    if other:
        base = runs[other[0].name]
        for server in servers[:2]:
            ratios = [a[0] / b[0] for a, b in zip(runs[server.name], base, strict=True)]
            print(
                f"{server.name}: {statistics.median(ratios):.2f} of {other[0].name}'s ceiling, in the same round"
            )
    return 0


def _closed_loop(server: Server, seconds: float) -> tuple[float, float]:
    """Requests a second, and seconds of processor time for each. Every connection sends when it has its answer."""
    bodies = [_around_instance(_body(patient)) for patient in range(PATIENTS)]
    # Each token opens once; how many will be needed is not known before.
    needed = int(3000 * seconds) if server.signer else 0
    headers = [_authorization(server.signer, server.port) for _ in range(needed)] or [{}]
    numbers = itertools.count()
    counts = [0] * CONNECTIONS
    problems: list[str] = []
    until = time.perf_counter() + seconds

    def send(index: int) -> None:
        connection = _connect(server.port)
        try:
            while time.perf_counter() < until:
                number = next(numbers)
                if server.signer and number >= needed:
                    return
                sent = {"Content-Type": "application/json", **headers[number % len(headers)]}
                before, after = bodies[number % PATIENTS]
                body = before + str(uuid.uuid4()).encode() + after  # each is a hook of its own
                connection.request("POST", server.path, body, sent)
                answer = connection.getresponse()
                if b"AML pattern" not in answer.read() or answer.status != 200:
                    raise AssertionError(f"status {answer.status}")
                counts[index] += 1
        except (OSError, http.client.HTTPException, AssertionError) as problem:
            problems.append(f"{type(problem).__name__}: {problem}")
        finally:
            connection.close()

    busy, began = _processor_s(server.pids), time.perf_counter()
    threads = [threading.Thread(target=send, args=(index,)) for index in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    if problems:
        raise SystemExit(f"{server.name}: {problems[0]}")
    return sum(counts) / took, (_processor_s(server.pids) - busy) / sum(counts)


def _around_instance(body: bytes) -> tuple[bytes, bytes]:
    before, _, after = body.partition(json.loads(body)["hookInstance"].encode())
    return before, after


def _processor_s(pids: Sequence[int]) -> float:
    """User and system time of those processes (Linux, proc(5), /proc/PID/stat)."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


@contextmanager
def _ours(folder: Path, signer: Signer | None) -> Iterator[Server]:
    folder.mkdir()
    started: list[subprocess.Popen[bytes]] = []
    with _server(folder, signer, started.append) as port:
        main_pid = started[0].pid
        children = Path(f"/proc/{main_pid}/task/{main_pid}/children").read_text().split()
        name = "LeukoCDS with JWT" if signer else "LeukoCDS"
        yield Server(name=name, port=port, path=_PATH, pids=tuple(map(int, children)), signer=signer)


@contextmanager
def _healthchain(python: str | None) -> Iterator[list[Server]]:
    if python is None:
        yield []
        return
    port = free_port()
    process = subprocess.Popen([python, "-c", _ONE_CARD, str(port)], stdout=subprocess.DEVNULL)
    try:
        _wait(lambda: _answers(port), process)
        name = "HealthChain, one card"
        yield [Server(name=name, port=port, path="/cds/cds-services/one-card", pids=(process.pid,))]
    finally:
        process.terminate()
        process.wait(30)


def _answers(port: int) -> bool:
    try:
        connection = _connect(port)
    except OSError:
        return False
    connection.close()
    return True


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("HealthChain did not start: is it installed for that interpreter?")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
