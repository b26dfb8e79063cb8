"""A real Orthanc behind mutual TLS and OAuth 2, reached by what stands in the archives' file and nothing else."""

import uuid
from pathlib import Path

import pytest

from cds.errors import UpstreamRefused, UpstreamUnavailable
from cds.settings import Settings
from cds.signing_key import SigningKey
from hooks.outbound import archives, open_archive
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.images import dicom_file, drawing
from tests.fakes.tls import Authority, TlsFront

TABLE = """
[[archive]]
name = "Orthanc"
url = "{url}"
authentication = "oauth2"
token_url = "{token_url}"
client_id = "leukocds"
client_authentication = "private_key_jwt"
signing_key = "signing.pem"
scopes = ["dicom.read", "dicom.write"]
ca_bundle = "ca.pem"
client_certificate = "leukocds.pem"
client_key = "leukocds.key.pem"
"""


def test_images_are_stored_listed_and_retrieved(orthanc_url: str, tmp_path: Path) -> None:
    key, authority = SigningKey.new("RS384"), Authority(tmp_path)
    (tmp_path / "signing.pem").write_bytes(key.pem)
    authority.issue("leukocds")
    study, uid = f"2.25.{uuid.uuid4().int}", f"2.25.{uuid.uuid4().int}"
    file = dicom_file(drawing(seed=1), StudyInstanceUID=study, SOPInstanceUID=uid)
    path = tmp_path / "archives.toml"
    settings = Settings(archives=str(path))
    with AuthorizationServer(key.jwk) as login, Guard(orthanc_url, login) as guard:
        with TlsFront(guard.url, authority.issue("server"), client_ca=authority.ca_file) as front:
            path.write_text(TABLE.format(url=front.url, token_url=login.token_url))
            (configured,) = archives(settings)
            archive = open_archive(configured, settings)
            archive.store([file])
            login.revoke()
            (ref,) = archive.instances(study)
            assert ref.sop_instance_uid == uid
            assert archive.retrieve(ref)[128:132] == b"DICM"
            assert (len(login.issued), set(login.ways)) == (2, {"private_key_jwt"})

            without_token = TABLE.format(url=front.url, token_url=login.token_url).split("authentication")[0]
            certificates = (
                'ca_bundle = "ca.pem"\nclient_certificate = "leukocds.pem"\nclient_key = "leukocds.key.pem"\n'
            )
            path.write_text(without_token + certificates)
            with pytest.raises(UpstreamRefused, match="HTTP 401"):
                open_archive(archives(settings)[0], settings).instances(study)
            path.write_text(without_token + 'ca_bundle = "ca.pem"\n')
            with pytest.raises(UpstreamUnavailable, match="client certificate"):
                open_archive(archives(settings)[0], settings).instances(study)
