"""How each of the four test servers is found, built, configured, started and asked whether it is ready."""

import hashlib
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from server_process import as_user

ROOT = Path(__file__).resolve().parent.parent
HAPI_SOURCES = ROOT / "tests" / "servers" / "hapi"
#: Loopback is never asked for through the proxy that the environment may name.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HAPI_CACHE = ROOT / ".cache" / "hapi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What `spawn` needs, and the address that tests are given."""

    command: Sequence[str]
    url: str
    user: str | None = None
    #: A folder outside the working tree that goes when the server stops.
    scratch: Path | None = None


class Recipe(Protocol):
    name: str
    default_port: int
    #: Debian packages, asked for only when `missing` is not empty.
    packages: tuple[str, ...]
    stop_signal: signal.Signals
    patience_s: float

    def missing(self) -> list[str]:
        """Programs that this machine lacks, in words."""
        ...

    def prepare(self, folder: Path, port: int) -> Launch:
        """Fill the empty data folder. May take minutes the first time (HAPI is built by Maven)."""
        ...

    def is_ready(self, port: int) -> bool: ...


class Tool(Protocol):
    """A program that tests need beside the servers. Without it they are skipped, and say so."""

    packages: tuple[str, ...]

    def missing(self) -> list[str]: ...


class Chromium(Tool):
    """The browser that tests look at the pages in."""

    # Without a font of its own a page would be drawn in boxes.
    packages = ("chromium", "fonts-dejavu-core")

    def missing(self) -> list[str]:
        named = os.environ.get("LEUKOCDS_TEST_CHROMIUM")
        return [] if named or shutil.which("chromium") else ["Chromium"]


class Hapi(Recipe):
    """HAPI FHIR R4 JPA, built from Maven Central, in memory."""

    name = "hapi"
    default_port = 18090
    packages = ("default-jdk-headless", "maven")  # Debian 12: JDK 17
    stop_signal = signal.SIGTERM
    patience_s = 300.0

    def missing(self) -> list[str]:
        lacking = [] if _java_version() >= 17 else ["Java 17 or newer"]
        if not self._jar().exists() and not (shutil.which("mvn") and shutil.which("javac")):
            lacking.append("Maven with a JDK")
        return lacking

    def prepare(self, folder: Path, port: int) -> Launch:
        jar = self._jar()
        if not jar.exists():
            self._build(jar)
        command = [
            "java",
            "-Xmx1200m",
            "-XX:+UseSerialGC",
            # The first compiler only: a test server's life is its start and a few thousand requests.
            "-XX:TieredStopAtLevel=1",
            f"-Djava.io.tmpdir={folder}",
            "-jar",
            str(jar),
            f"--server.port={port}",
        ]
        return Launch(command=command, url=f"http://127.0.0.1:{port}/fhir")

    def is_ready(self, port: int) -> bool:
        return _answers(f"http://127.0.0.1:{port}/fhir/metadata", timeout_s=20)

    def _jar(self) -> Path:
        digest = hashlib.sha256()
        for path in sorted(p for p in HAPI_SOURCES.rglob("*") if p.is_file() and "target" not in p.parts):
            digest.update(path.relative_to(HAPI_SOURCES).as_posix().encode() + b"\0" + path.read_bytes())
        return HAPI_CACHE / f"hapi-{digest.hexdigest()[:16]}.jar"

    def _build(self, jar: Path) -> None:
        work = HAPI_CACHE / "build"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(HAPI_SOURCES, work, ignore=shutil.ignore_patterns("target"))
        done = subprocess.run(
            ["mvn", "-B", "-q", "package"],
            cwd=work,
            capture_output=True,
            text=True,
            timeout=1500,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError("Maven could not build HAPI:\n" + "\n".join(done.stdout.splitlines()[-20:]))
        (work / "target" / "leukocds-hapi.jar").replace(jar)
        shutil.rmtree(work)


class Orthanc(Recipe):
    """Orthanc with its DICOMweb plugin (WADO-URI besides) and a DICOM port, which its /system names.

    The port is on every address (older Orthancs know no other way), so only modalities that a test has registered may
    do anything there, from their own address.
    """

    name = "orthanc"
    default_port = 18042
    # dicom3tools: the tests show what we write to its dciodvfy, where it is there.
    packages = ("orthanc", "orthanc-dicomweb", "dicom3tools")
    stop_signal = signal.SIGTERM
    patience_s = 60.0

    def missing(self) -> list[str]:
        lacking = [] if shutil.which("Orthanc", path=_path()) else ["Orthanc"]
        return lacking if self._plugin() else [*lacking, "Orthanc's DICOMweb plugin"]

    def prepare(self, folder: Path, port: int) -> Launch:
        config = {
            "Name": "LeukoCDS test archive",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": port,
            # Older Orthancs listen on every address whatever this says, and refuse remote callers themselves.
            "HttpBindAddresses": ["127.0.0.1"],
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomServerEnabled": True,
            "DicomAet": "ORTHANC",
            "DicomPort": _free_port(),
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": True,
            "DicomAlwaysAllowEcho": False,
            "DicomAlwaysAllowStore": False,
            "Plugins": [str(self._plugin())],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "WadoRoot": "/wado"},
        }
        path = folder / "orthanc.json"
        path.write_text(json.dumps(config, indent=2))
        program = shutil.which("Orthanc", path=_path()) or "Orthanc"
        return Launch(command=[program, str(path)], url=f"http://127.0.0.1:{port}/dicom-web")

    def is_ready(self, port: int) -> bool:
        return _answers(f"http://127.0.0.1:{port}/dicom-web/studies?limit=1", timeout_s=5)

    def _plugin(self) -> Path | None:
        named = os.environ.get("LEUKOCDS_SERVERS_ORTHANC_DICOMWEB")
        places = [Path(named)] if named else []
        for pattern in ("share/orthanc/plugins", "lib/orthanc/plugins", "local/share/orthanc/plugins"):
            places += sorted((Path("/usr") / pattern).glob("libOrthancDicomWeb*"))
        return next((p for p in places if p.exists()), None)


class Redis(Recipe):
    name = "redis"
    default_port = 16379
    packages = ("redis-server",)
    stop_signal = signal.SIGTERM
    patience_s = 30.0

    def missing(self) -> list[str]:
        return [] if shutil.which("redis-server", path=_path()) else ["redis-server"]

    def prepare(self, folder: Path, port: int) -> Launch:
        program = shutil.which("redis-server", path=_path()) or "redis-server"
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
            "databases": "256",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Launch(command=[program, *flags], url=f"redis://127.0.0.1:{port}/0")

    def is_ready(self, port: int) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


class Postgres(Recipe):
    """A cluster of its own. PostgreSQL refuses to run as root, so root lends it the user `postgres` or `nobody`."""

    name = "postgres"
    default_port = 15432
    packages = ("postgresql",)
    stop_signal = signal.SIGINT  # "fast": sessions are ended, data is written
    patience_s = 60.0

    def missing(self) -> list[str]:
        return [] if self._program("initdb") and self._program("postgres") else ["PostgreSQL server"]

    def prepare(self, folder: Path, port: int) -> Launch:
        user = _unprivileged_user()
        home, scratch = folder, None
        if user is not None and not _reaches(user, folder):
            home = scratch = Path(tempfile.mkdtemp(prefix="leukocds-postgres-"))
        password = secrets.token_urlsafe(18)
        secret = home / "password"
        secret.write_text(password)
        secret.chmod(0o600)
        if user is not None:
            shutil.chown(home, user)
            shutil.chown(secret, user)
        data = home / "data"
        initdb = ["-D", str(data), "-U", "leukocds", "--auth=scram-sha-256", f"--pwfile={secret}"]
        done = subprocess.run(
            [str(self._program("initdb")), *initdb, "--encoding=UTF8", "--locale=C", "--no-sync"],
            cwd=home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **as_user(user),
        )
        if done.returncode != 0:
            raise RuntimeError(f"initdb failed: {done.stderr.strip()[-800:]}")
        secret.unlink()
        settings = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        command = [str(self._program("postgres")), "-D", str(data)]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        url = f"postgresql+psycopg://leukocds:{password}@127.0.0.1:{port}/postgres"
        return Launch(command=command, url=url, user=user, scratch=scratch)

    def is_ready(self, port: int) -> bool:
        """Whether a start-up message is answered by a request for a password rather than "still starting up"."""
        body = b"\x00\x03\x00\x00user\x00leukocds\x00database\x00postgres\x00\x00"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                connection.sendall((len(body) + 4).to_bytes(4, "big") + body)
                return connection.recv(1) == b"R"
        except OSError:
            return False

    def _program(self, name: str) -> str | None:
        """Debian keeps the server's programs off the PATH, one folder for each major version: take the newest."""
        folders = Path("/usr/lib/postgresql").glob("*/bin")
        newest_first = sorted(folders, key=lambda p: int(re.sub(r"\D", "", p.parent.name) or 0), reverse=True)
        return shutil.which(name, path=os.pathsep.join([*map(str, newest_first), _path()]))


RECIPES: tuple[Recipe, ...] = (Redis(), Postgres(), Orthanc(), Hapi())
TOOLS: tuple[Tool, ...] = (Chromium(),)


def _path() -> str:
    """The PATH, and where Debian puts servers although a plain user's PATH may lack it."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])


def _java_version() -> int:
    if shutil.which("java") is None:
        return 0
    done = subprocess.run(["java", "-version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r'version "(\d+)', done.stderr)
    return int(found[1]) if found else 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str, timeout_s: float) -> bool:
    try:
        with _DIRECT.open(url, timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _reaches(user: str, folder: Path) -> bool:
    """Whether `user` may pass through every folder above (a checkout below /root is closed to others)."""
    done = subprocess.run(["test", "-x", str(folder)], cwd="/", timeout=10, check=False, **as_user(user))
    return bool(done.returncode == 0)
