"""`leukocds keys`: a CDS client to try with (key pair, entry in the clients file, signed request), or our own key."""

import json
import os
import shlex
import uuid
from pathlib import Path
from typing import Any

import click

from cds.errors import ConfigurationError
from cds.settings import Settings

_SERVICE = "/cds-services/leukemia-smear"


@click.command(short_help="Make a test client's key and a signed request; print our own public keys.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("leukocds-test-client"),
    show_default=True,
    help="Folder for the files; where it holds a key already, that one signs.",
)
@click.option(
    "--iss", default="https://ehr.example.org/", show_default=True, help="Who the client says it is."
)
@click.option(
    "--aud",
    metavar="URL",
    help="Endpoint that the request is for; by default the service at our public address.",
)
@click.option(
    "--alg", type=click.Choice(["ES384", "RS384"]), default="ES384", show_default=True, help="For a new key."
)
@click.option(
    "--ours",
    is_flag=True,
    help="Instead: print the JWK Set of LEUKOCDS_SIGNING_KEY, for authorization servers; where that file is not there "
    "yet, make the key.",
)
def keys(out: Path, iss: str, aud: str | None, alg: str, ours: bool) -> None:
    """Make a CDS client for trying: key pair, JWK Set, entry for LEUKOCDS_CLIENTS; print a signed request for curl.

    A token opens the door once and for two minutes: run it again for the next. For tests only: in earnest the client
    keeps its private key, and hands on the JWK Set or its address.
    """
    if ours:
        click.echo(_json(_our_keys(Settings.from_env(), alg)), nl=False)
        return
    from hooks.ehr_profile import SURFACE
    from hooks.signing import Signer, clients_toml

    aud = aud or Settings.from_env().base_url + _SERVICE
    base, surface, rest = aud.partition(SURFACE)
    if not surface or not base.startswith(("http://", "https://")):
        raise click.BadParameter(f"must be an address with {SURFACE} in it", param_hint="--aud")
    pem = out / "private.pem"
    if pem.exists():
        signer = Signer.from_pem(iss, pem.read_bytes())
        click.echo(f"{pem} exists and signs; no file was written.", err=True)
    else:
        signer = Signer.new(iss, alg)
        _write(pem, signer.pem, private=True)
        _write(out / "private.jwk.json", _json(signer.private_jwk), private=True)
        _write(out / "jwks.json", _json({"keys": [signer.jwk]}))
        _write(out / "clients.toml", clients_toml(signer, name="Test client", audience=base).encode())
        click.echo(
            f"Written into {out}: private.pem and private.jwk.json (keep them), jwks.json, clients.toml.",
            err=True,
        )
    click.echo(
        f"Serve with LEUKOCDS_CLIENTS={out / 'clients.toml'}, then within two minutes, once:", err=True
    )
    click.echo(_curl(aud, signer.token(aud.rstrip("/")), post=bool(rest.strip("/"))))


def _our_keys(settings: Settings, alg: str) -> dict[str, Any]:
    """Our JWK Set; a key is made where LEUKOCDS_SIGNING_KEY names a file that does not exist."""
    from cds.signing_key import SigningKey, jwk_set
    from hooks.outbound import signing_keys
    from hooks.well_known import PATH

    if not settings.signing_key:
        raise ConfigurationError("LEUKOCDS_SIGNING_KEY is not set: name the file of our private key")
    path = Path(settings.signing_key)
    if not path.exists():
        _write(path, SigningKey.new(alg).pem, private=True)
        click.echo(f"Written: {path}, a new {alg} key. Keep it from everybody else.", err=True)
    click.echo(f"`leukocds serve` publishes this at {settings.base_url}{PATH}.", err=True)
    return jwk_set(signing_keys(settings))


def _curl(url: str, token: str, *, post: bool) -> str:
    lines = [f"curl -i {shlex.quote(url)}", f"-H 'Authorization: Bearer {token}'"]
    if post:
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(_patient_view()))}"]
    return " \\\n  ".join(lines)


def _patient_view() -> dict[str, Any]:
    """A patient without smears, so that no server but ours is needed: the answer has no cards."""
    nothing = {"resourceType": "Bundle", "type": "searchset"}
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid.uuid4()),
        "context": {"userId": "Practitioner/test", "patientId": "test"},
        "prefetch": {
            "patient": {"resourceType": "Patient", "id": "test"},
            "studies": nothing,
            "reports": nothing,
        },
    }


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=2).encode() + b"\n"


def _write(path: Path, content: bytes, *, private: bool = False) -> None:
    """Raises ConfigurationError where the file is there already or cannot be made."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Never open to others, not even for a moment.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
