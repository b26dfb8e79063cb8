"""The archives' file: who gets which credentials, and what is said about mistakes in it."""

import subprocess
import sys

import pytest

from cds.archives import KINDS, load_archives
from cds.dicomweb import DicomWebArchive
from cds.dimse_site import DimseSite, Reception
from cds.errors import ConfigurationError, EndpointNotAllowed
from cds.orthanc import OrthancArchive
from cds.settings import Settings
from cds.signing_key import SigningKey
from cds.tls import Tls
from cds.values import StudyRef
from hooks import bootstrap
from hooks.outbound import ADAPTERS, archives, open_archive
from tests.fakes.assessments import MODEL
from tests.fakes.authorization_server import AuthorizationServer, Guard
from tests.fakes.dicomweb import FakeArchive
from tests.fakes.tls import Authority

PLAIN = '[[archive]]\nname = "A"\nurl = "https://pacs.example/dicom-web/"\n'
DIMSE = '[[archive]]\nname = "D"\nkind = "dimse"\nhost = "pacs.example"\nport = 104\nae_title = "PACS"\n'
WADO = PLAIN.replace("dicom-web/", "wado") + 'kind = "wado-uri"\n'
OAUTH = PLAIN + (
    'authentication = "oauth2"\ntoken_url = "https://auth.example/token"\nclient_id = "leukocds"\n'
)


@pytest.fixture
def load(tmp_path):
    """Archives from a text, as `load_archives` gives them."""

    def made(text, environ=None, **settings):
        (tmp_path / "archives.toml").write_text(text)
        return load_archives(
            Settings(archives=str(tmp_path / "archives.toml"), **settings), Tls(), environ or {}
        )

    return made


def test_the_simple_settings_are_one_archive():
    (archive,) = load_archives(
        Settings(archive_url="http://PACS.example:80/rs/", archive_user="u", archive_password="p"), Tls()
    )
    assert (archive.url, archive.authentication) == ("http://pacs.example/rs", "basic")
    assert archive.credentials.authorization(None) == "Basic dTpw"
    assert load_archives(Settings(), Tls()) == ()


def test_defaults_come_from_the_settings(load):
    (archive,) = load(PLAIN, connect_timeout_s=1.5, read_timeout_s=7.0)
    assert (archive.name, archive.url, archive.kind) == ("A", "https://pacs.example/dicom-web", "dicomweb")
    assert (archive.connect_timeout_s, archive.read_timeout_s) == (1.5, 7.0)
    assert archive.credentials.authorization(None) is None
    (patient,) = load(PLAIN + "read_timeout_s = 90\nconnect_timeout_s = 0.5\n")
    assert (patient.connect_timeout_s, patient.read_timeout_s) == (0.5, 90.0)


def test_secrets_come_from_a_file_beside_it_or_the_environment(load, tmp_path):
    (tmp_path / "password").write_text("hush\n")
    basic = PLAIN + 'authentication = "basic"\nuser = "u"\n'
    (by_file,) = load(basic + 'password_file = "password"\n')
    (by_env,) = load(basic + 'password_env = "PACS_PASSWORD"\n', {"PACS_PASSWORD": "hush"})
    assert (
        by_file.credentials.authorization(None) == by_env.credentials.authorization(None) == "Basic dTpodXNo"
    )
    (bearer,) = load(PLAIN + 'authentication = "bearer"\ntoken_env = "T"\n', {"T": "abc"})
    assert bearer.credentials.authorization(None) == "Bearer abc"
    assert "hush" not in repr(by_file)


def test_the_archive_for_studies_that_name_none_comes_first(load):
    second = PLAIN.replace("A", "B").replace("pacs", "second")
    assert [a.name for a in load(PLAIN + second)] == ["A", "B"]
    assert [a.name for a in load(PLAIN + second, archive_url="https://second.example/dicom-web")] == [
        "B",
        "A",
    ]
    assert [a.name for a in load(PLAIN, archive_url="https://third.example/")] == ["archive", "A"]
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_ARCHIVE_USER is set, but A in LEUKOCDS_ARCHIVES"):
        load(PLAIN, archive_url="https://pacs.example/dicom-web", archive_user="u")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"archives.toml must consist of \[\[archive\]\] tables"),
        ("[archive]\n", "must consist of"),
        ("archive = [1]\n", "archive 1: must be a table"),
        ("[[archive\n", "is not TOML"),
        ('[[archive]]\nname = "A"\n', r"archive 1 \(A\): url: is missing"),
        ('[[archive]]\nurl = "https://a.example"\n', "archive 1: name: is missing"),
        ('[[archive]]\nname = "A"\nurl = "https://u:p@a.example/"\n', "url: an address must be plain"),
        ('[[archive]]\nname = "A"\nurl = "ftp://a.example/"\n', "url: an address must begin with http"),
        (PLAIN + PLAIN, r"archive 2 \(A\): name: another table has the same"),
        (PLAIN + PLAIN.replace('"A"', '"B"'), r"archive 2 \(B\): url: A has the same"),
        (PLAIN + 'kind = "floppy"\n', "kind: must be one of dicomweb, wado-uri, orthanc, dimse"),
        (PLAIN + "port = 104\n", "port: goes with kind = 'dimse'"),
        (PLAIN + 'endpoint = "https://a.example/rs"\n', "endpoint: goes with kind = 'wado-uri' or 'orthanc' or"),
        (WADO + 'qido_url = "pacs"\n', "qido_url: an address has no valid host"),
        (WADO.replace('url = "https://pacs.example/wado"\n', ""), "url: is missing"),
        (DIMSE + 'url = "https://a.example/"\n', "url: goes with kind = 'dicomweb' or"),
        (DIMSE.replace("104", '"104"'), "port: must be a whole number"),
        (DIMSE.replace("port = 104\n", ""), "port: is missing"),
        (DIMSE.replace("104", "104000"), "port: must be a port"),
        (DIMSE.replace("PACS", "A TITLE THAT IS TOO LONG"), "ae_title: must be an AE title"),
        (DIMSE + 'own_ae_title = "A\\\\B"\n', "own_ae_title: must be an AE title"),
        (DIMSE.replace("pacs.example", "http://pacs.example"), "host: must be a host name or address"),
        (DIMSE + 'tls = "yes"\n', "tls: must be true or false"),
        (DIMSE + 'retrieve = "c-find"\n', "retrieve: must be one of c-get, c-move"),
        (DIMSE + 'retrieve = "c-move"\n', "receive_port: is missing"),
        (DIMSE + 'retrieve = "c-move"\nreceive_port = 0\n', "receive_port: must be a port"),
        (
            DIMSE + 'tls = true\nretrieve = "c-move"\nreceive_port = 104\n',
            "tls: our port needs a client_certificate",
        ),
        (DIMSE + "receive_port = 104\n", "receive_port: goes with retrieve = 'c-move'"),
        (DIMSE + 'authentication = "basic"\n', "authentication: DIMSE has none"),
        (DIMSE + DIMSE.replace('"D"', '"E"'), r"archive 2 \(E\): host: D has the same"),
        (
            PLAIN + DIMSE + 'endpoint = "https://pacs.example/dicom-web"\n',
            r"archive 2 \(D\): endpoint: A has the same",
        ),
        (PLAIN + "user = 1\n", "user: goes with authentication = 'basic'"),
        (PLAIN + "colour = 1\n", "colour: is not known"),
        (PLAIN + "read_timeout_s = 0\n", "read_timeout_s: must be a number of seconds"),
        (PLAIN + "read_timeout_s = true\n", "read_timeout_s: must be a number of seconds"),
        (PLAIN + 'authentication = "magic"\n', "authentication: must be one of none, basic, bearer, oauth2"),
        (PLAIN + 'authentication = "basic"\nuser = "u:p"\n', "user: must not hold a colon"),
        (PLAIN + 'authentication = "basic"\nuser = "u"\n', "password_file: give either it or password_env"),
        (
            PLAIN + 'authentication = "basic"\nuser = "u"\npassword = "p"\n',
            "password: secrets do not stand here; give password_file or password_env",
        ),
        (
            PLAIN + 'authentication = "basic"\nuser = "u"\npassword_file = "gone"\n',
            "password_file: .*gone cannot be read: No such file",
        ),
        (
            PLAIN + 'authentication = "bearer"\ntoken_env = "NOT_SET"\n',
            "token_env: the environment variable NOT_SET is empty or not set",
        ),
        (PLAIN + 'authentication = "bearer"\ntoken_env = "SPACED"\n', "token_env: is no bearer token"),
        (PLAIN + 'client_key = "k"\n', "client_key: client_certificate is missing"),
        (PLAIN + 'ca_bundle = "gone.pem"\n', "ca_bundle: .*gone.pem cannot be read"),
        (OAUTH, "client_authentication: is missing"),
        (OAUTH.replace("https://auth", "http://auth"), "token_url: must begin with https"),
        (
            OAUTH + 'client_authentication = "client_secret_basic"\ntoken_audience = "a"\n',
            "token_audience: goes with client_authentication = 'private_key_jwt'",
        ),
        (OAUTH + 'client_authentication = "private_key_jwt"\n', "signing_key: is missing, and LEUKOCDS_SIGNING_KEY"),
        (
            OAUTH + 'client_authentication = "private_key_jwt"\nsigning_key = "gone"\n',
            "signing_key: .*gone cannot be read",
        ),
        (
            OAUTH + 'client_authentication = "private_key_jwt"\nclient_secret_env = "S"\n',
            "client_secret_env: goes with client_authentication",
        ),
        (
            OAUTH + 'client_authentication = "client_secret_basic"\nsigning_key = "k"\n',
            "signing_key: goes with client_authentication",
        ),
        (OAUTH + 'client_authentication = "client_secret_post"\n', "client_secret_file: give either"),
        (
            OAUTH + 'client_authentication = "client_secret_post"\nclient_secret_env = "S"\nscopes = "a b"\n',
            "scopes: must be a list of texts",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_file_table_and_field(load, text, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        load(text, {"SPACED": "two words", "S": "s"})
    assert str(caught.value).startswith("LEUKOCDS_ARCHIVES: ")
    assert "archives.toml" in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"LEUKOCDS_ARCHIVES: .*gone.toml cannot be read"):
        load_archives(Settings(archives=str(tmp_path / "gone.toml")), Tls())


def test_an_archive_may_have_certificates_of_its_own(load, tmp_path):
    authority = Authority(tmp_path)
    authority.issue("ours")
    text = 'ca_bundle = "ca.pem"\nclient_certificate = "ours.pem"\nclient_key = "ours.key.pem"\n'
    (archive,) = load(PLAIN + text)
    assert archive.tls == Tls(
        ca_bundle=authority.ca_file,
        certificate=str(tmp_path / "ours.pem"),
        key=str(tmp_path / "ours.key.pem"),
    )


@pytest.mark.parametrize("way", ["client_secret_basic", "client_secret_post", "private_key_jwt"])
def test_a_token_for_an_archive_is_fetched_once_for_all_its_studies(tmp_path, monkeypatch, way):
    monkeypatch.setattr(bootstrap, "model_identity", lambda settings: MODEL)
    key = SigningKey.new()
    (tmp_path / "key.pem").write_bytes(key.pem)
    (tmp_path / "secret").write_text("s3cret")
    by_key = way == "private_key_jwt"
    with AuthorizationServer(key.jwk, secret=None if by_key else "s3cret") as authority:
        with FakeArchive() as fake, Guard(fake.url, authority) as guard:
            proof = 'signing_key = "key.pem"' if by_key else 'client_secret_file = "secret"'
            (tmp_path / "archives.toml").write_text(
                f'[[archive]]\nname = "PACS"\nurl = "{guard.url}"\nauthentication = "oauth2"\n{proof}\n'
                f'token_url = "{authority.token_url}"\nclient_id = "leukocds"\nclient_authentication = "{way}"\n'
            )
            settings = Settings(
                archives=str(tmp_path / "archives.toml"), database_url=f"sqlite:///{tmp_path}/store.db"
            )
            archive_of = bootstrap.worker_parts(settings, stopping=None).archive
            for named in (None, f"{guard.url}/"):
                study = StudyRef(study_uid="2.25.1", archive_url=named)
                assert archive_of(study).instances("2.25.1") == ()
            assert (len(authority.issued), authority.ways) == (1, [way])
            authority.revoke()
            assert archive_of(StudyRef(study_uid="2.25.1")).instances("2.25.1") == ()
            assert len(authority.issued) == 2


def test_credentials_go_to_their_own_archive_alone(tmp_path, monkeypatch):
    """Not to another archive of the same host, not to one that only an Endpoint names, and not along a redirect."""
    monkeypatch.setattr(bootstrap, "model_identity", lambda settings: MODEL)
    monkeypatch.setenv("TOKEN_A", "for-a")
    monkeypatch.setenv("TOKEN_B", "for-b")
    with FakeArchive() as a, FakeArchive() as b, FakeArchive() as stranger:
        (tmp_path / "archives.toml").write_text(
            "".join(
                f'[[archive]]\nname = "{name}"\nurl = "{fake.url}"\n'
                f'authentication = "bearer"\ntoken_env = "TOKEN_{name}"\n'
                for name, fake in (("A", a), ("B", b))
            )
        )
        settings = Settings(
            archives=str(tmp_path / "archives.toml"),
            database_url=f"sqlite:///{tmp_path}/store.db",
            allowed_hosts=(stranger.url.split("/")[2],),
        )
        archive_of = bootstrap.worker_parts(settings, stopping=None).archive
        for url in (None, a.url, b.url, stranger.url):
            archive_of(StudyRef(study_uid="2.25.1", archive_url=url)).instances("2.25.1")
        with pytest.raises(Exception, match="does not know"):
            archive_of(StudyRef(study_uid="2.25.1", archive_url=f"{a.url}/other")).instances("2.25.1")
        assert set(a.authorizations) == {"Bearer for-a", None}
        assert a.authorizations[-1] is None  # another service of the same host
        assert set(b.authorizations) == {"Bearer for-b"}
        assert set(stranger.authorizations) == {None}


def test_an_archive_that_speaks_dimse(load):
    (simple,) = load(DIMSE)
    assert (simple.url, simple.endpoint) == ("dicom://PACS@pacs.example:104", "")
    assert simple.site == DimseSite(host="pacs.example", port=104, ae_title="PACS", own_ae_title="LEUKOCDS")
    (moving,) = load(
        DIMSE
        + 'own_ae_title = "SMEARS"\nretrieve = "c-move"\nreceive_port = 11112\nreceive_from = ["10.0.0.7"]\n'
        'endpoint = "https://pacs.example:443/rs/"\n'
    )
    assert moving.site.reception == Reception(host="0.0.0.0", port=11112, senders=("10.0.0.7",))
    assert moving.endpoint == "https://pacs.example/rs"


def test_dimse_without_its_library_is_said_at_the_start(load, monkeypatch):
    monkeypatch.setattr("cds.dimse_site.find_spec", lambda name: None)
    with pytest.raises(
        ConfigurationError, match=r"kind: dimse needs pynetdicom.*pip install 'leukocds\[dimse\]'"
    ):
        load(DIMSE)
    assert len(load(PLAIN)) == 1


def test_the_base_install_imports_no_dimse():
    program = "import sys, hooks.bootstrap, hooks.commands.check; sys.exit('pynetdicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0


def test_an_endpoint_leads_to_the_archive_that_names_it(tmp_path, monkeypatch):
    """A PACS of which Endpoints give an address that is not asked itself."""
    monkeypatch.setattr(bootstrap, "model_identity", lambda settings: MODEL)
    text = PLAIN.replace("dicom-web/", "rest") + 'kind = "orthanc"\nendpoint = "https://pacs.example/rs"\n'
    (tmp_path / "archives.toml").write_text(text + DIMSE)
    settings = Settings(
        archives=str(tmp_path / "archives.toml"), database_url=f"sqlite:///{tmp_path}/store.db"
    )
    archive_of = bootstrap.worker_parts(settings, stopping=None).archive
    for url in (None, "https://pacs.example/rs"):
        found = archive_of(StudyRef(study_uid="2.25.1", archive_url=url))
        assert isinstance(found, OrthancArchive)
        assert found.base_url == "https://pacs.example/rs"
    # An Endpoint of the same host is asked as it says, without our credentials; the DIMSE port is on no allow-list.
    other = archive_of(StudyRef(study_uid="2.25.1", archive_url="https://pacs.example/rest"))
    assert isinstance(other, DicomWebArchive)
    with pytest.raises(EndpointNotAllowed):
        archive_of(StudyRef(study_uid="2.25.1", archive_url="http://pacs.example:104/"))


def test_every_kind_has_its_adapter():
    assert set(ADAPTERS) == set(KINDS)
    settings = Settings(archive_url="http://pacs.example/rs")
    (archive,) = archives(settings)
    assert open_archive(archive, settings).base_url == "http://pacs.example/rs"
