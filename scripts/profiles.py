"""Make the generated part of fhir_profiles/ anew from its FSH sources, the code table and what our own code writes.

    python scripts/profiles.py          # needs Node 20 with npm; and, once, Java 17 with Maven

SUSHI compiles the FSH, offline once its cache holds the R4 core package; that is put together from what HAPI publishes
on Maven Central. What is written is the same for the same sources.
"""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cds.language import LANGUAGES, Message, words  # noqa: E402
from fhir_profiles.codes import CANONICAL, code_systems  # noqa: E402
from fhir_profiles.definitions import FOLDER, PACKAGE, VERSION, sources_digest  # noqa: E402

SUSHI = "fsh-sushi@3.21.0"
CORE = "hl7.fhir.r4.core#4.0.1"
_SEED = ROOT / "scripts" / "core_package"
_SUSHI_CACHE = ROOT / ".cache" / "sushi"


def main() -> None:
    from profile_examples import examples

    (FOLDER / "fsh" / "code_systems.fsh").write_text(code_systems_fsh())
    seed_core_package(Path.home() / ".fhir" / "packages")
    with tempfile.TemporaryDirectory() as folder:
        definitions, written = compile_fsh(Path(folder))
    made = {f"{r['resourceType']}-{r['id']}.json": r for r in (*written, *examples())}
    _replace(FOLDER / "definitions", {f"{r['resourceType']}-{r['id']}.json": r for r in definitions})
    _replace(FOLDER / "examples", made)
    (FOLDER / "sources.sha256").write_text(sources_digest() + "\n")
    content = package()
    # Compressed bytes differ from one zlib to the next although what is in them does not.
    if not PACKAGE.exists() or gzip.decompress(PACKAGE.read_bytes()) != content:
        PACKAGE.write_bytes(gzip.compress(content, mtime=0))
    print(f"{len(definitions)} definitions, {len(made)} examples, leukocds.fhir.r4.tgz")


def compile_fsh(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Definitions and example instances as SUSHI makes them in `folder`. Raises RuntimeError with what it says."""
    (folder / "input").mkdir()
    shutil.copytree(FOLDER / "fsh", folder / "input" / "fsh")
    shutil.copy(FOLDER / "sushi-config.yaml", folder)
    done = subprocess.run(
        [*_sushi(), "build", str(folder), "--log-level", "warn"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"SUSHI:\n{done.stdout[-6000:]}{done.stderr[-2000:]}")
    resources = [
        json.loads(path.read_text())
        for path in sorted((folder / "fsh-generated" / "resources").glob("*.json"))
    ]
    return [_told(r) for r in resources if "url" in r], [r for r in resources if "url" not in r]


def _told(definition: dict[str, Any]) -> dict[str, Any]:
    """With a narrative: title and description."""
    said = [definition.get("title", definition["name"]), definition.get("description", "")]
    div = "".join(f"<p>{escape(text)}</p>" for text in said if text)
    lang = ' lang="en" xml:lang="en"' if definition.get("language") == "en" else ""
    text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml"{lang}>{div}</div>'}
    head = {name: definition.pop(name) for name in ("resourceType", "id")}
    return {**head, "text": text, **definition}


def seed_core_package(packages: Path) -> None:
    """Put the R4 core package into SUSHI's cache unless it is there."""
    folder = packages / CORE / "package"
    if (folder / "package.json").exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        classpath = Path(scratch) / "classpath"
        maven = ["mvn", "-B", "-q", "dependency:build-classpath", f"-Dmdep.outputFile={classpath}"]
        subprocess.run(maven, cwd=_SEED, check=True, timeout=900)
        java = ["java", "-Xmx800m", "-cp", classpath.read_text().strip(), "CorePackage.java", str(folder)]
        subprocess.run(java, cwd=_SEED, check=True, timeout=600, stderr=subprocess.DEVNULL)
    # Last: a folder without it is not taken for whole.
    about = {"name": "hl7.fhir.r4.core", "version": "4.0.1", "type": "Core", "fhirVersions": ["4.0.1"]}
    canonical = {"canonical": "http://hl7.org/fhir", "url": "http://hl7.org/fhir/R4"}
    (folder / "package.json").write_text(json.dumps({**about, **canonical}))


def code_systems_fsh() -> str:
    """Our CodeSystems in FSH, from the code table and the catalogues of fhir_profiles."""
    lines = [
        "// Written by scripts/profiles.py from fhir_profiles/codes.py and locale/*.po; change it there."
    ]
    for system in code_systems():
        lines += [
            "",
            f"CodeSystem: {system['name']}",
            f"Id: {system['id']}",
            f'Title: "{system["title"]}"',
            f'Description: "{system["description"]}"',
            f'* ^url = "{system["url"]}"',
            "* ^experimental = false",
            "* ^caseSensitive = true",
            "* ^language = #en",
            *(line for concept in system["concept"] for line in _concept_fsh(concept)),
        ]
    return "\n".join(lines) + "\n"


def _concept_fsh(concept: dict[str, str]) -> Iterator[str]:
    """A concept with its name in each other language, from the catalogues."""
    code, display = concept["code"], concept["display"]
    yield f'* #{code} "{display}"'
    for number, language in enumerate(LANGUAGES[1:]):
        said = words(language).text(Message(display, context="code"))
        yield f"* #{code} ^designation[{number}].language = #{language}"
        yield f'* #{code} ^designation[{number}].value = "{said}"'


def package() -> bytes:
    """The FHIR package (NPM layout: package/ with package.json and .index.json) of what lies in fhir_profiles, as a tar
    file."""
    about = {
        "name": "leukocds.fhir.r4",
        "version": VERSION,
        "type": "Conformance",
        "title": "LeukoCDS FHIR R4 profiles",
        "description": "What LeukoCDS writes to a FHIR R4 server, and what it needs from one.",
        "canonical": CANONICAL,
        "fhirVersions": ["4.0.1"],
        "dependencies": {"hl7.fhir.r4.core": "4.0.1"},
        "author": "The LeukoCDS maintainers",
        "license": "Apache-2.0",
    }
    files = {"package/package.json": _json(about)}
    for sub, target in (("definitions", "package"), ("examples", "package/example")):
        held = {path.name: path.read_bytes() for path in sorted((FOLDER / sub).glob("*.json"))}
        files[f"{target}/.index.json"] = _json(_index(held))
        files |= {f"{target}/{name}": content for name, content in held.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _index(held: dict[str, bytes]) -> dict[str, Any]:
    files = []
    for name, content in held.items():
        resource = json.loads(content)
        entry = {"filename": name, "resourceType": resource["resourceType"], "id": resource["id"]}
        entry |= {
            k: resource[k] for k in ("url", "version", "kind", "type") if isinstance(resource.get(k), str)
        }
        files.append(entry)
    return {"index-version": 2, "files": files}


def _replace(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.json"):
        if old.name not in files:
            old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(_json(content))


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def _sushi() -> list[str]:
    """SUSHI's command; installed from npm into .cache/ the first time."""
    program = _SUSHI_CACHE / "node_modules" / ".bin" / "sushi"
    if not program.exists():
        _SUSHI_CACHE.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--no-save", SUSHI]
        # npm looks for a package.json further up unless there is one here.
        (_SUSHI_CACHE / "package.json").write_text("{}\n")
        subprocess.run(install, cwd=_SUSHI_CACHE, check=True, timeout=600, stdout=subprocess.DEVNULL)
    os.environ.setdefault("NO_UPDATE_NOTIFIER", "1")
    return [str(program)]


if __name__ == "__main__":
    main()
