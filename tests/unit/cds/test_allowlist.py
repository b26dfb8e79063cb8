import pytest

from cds.allowlist import AllowList
from cds.errors import ConfigurationError, EndpointNotAllowed
from cds.settings import Settings

ALLOWED = AllowList(["pacs.example", "fhir.example:8080", "127.0.0.1:8042", "[2001:db8::1]:8042"])


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("http://pacs.example/dicom-web/", "http://pacs.example/dicom-web"),
        ("https://pacs.example", "https://pacs.example"),
        ("HTTPS://PACS.Example:443/DICOM", "https://pacs.example/DICOM"),
        ("http://pacs.example.:80/x", "http://pacs.example/x"),
        ("http://fhir.example:8080/fhir", "http://fhir.example:8080/fhir"),
        ("http://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
        ("http://[2001:DB8:0::1]:8042/", "http://[2001:db8::1]:8042"),
    ],
)
def test_an_allowed_address_comes_back_in_normal_form(url, normal):
    assert ALLOWED.check(url) == normal
    assert ALLOWED.check(normal) == normal


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/",
        "http://pacs.example:8080/",  # another port
        "https://pacs.example:80/",  # http's port, not https's
        "http://fhir.example/fhir",  # only 8080 was named
        "http://localhost:8042/",  # another name of the same machine
        "http://2130706433:8042/",
        "http://0x7f.0.0.1:8042/",
        "http://[::ffff:127.0.0.1]:8042/",
        "http://[2001:db8::2]:8042/",
        "http://[2001:db8::1%25eth0]:8042/",
        "http://user@pacs.example/",
        "http://pacs.example@evil.example/",
        "http://pacs.example:80@evil.example/",
        "http://evil.example\\@pacs.example/",
        "http://pacs.example\\.evil.example/",
        "http://pacs.example.evil.example/",
        "http://evil.example#@pacs.example/",
        "http://evil.example?@pacs.example/",
        "http://pacs.example/?next=x",
        "http://pacs.example/#x",
        "http://pаcs.example/",  # a Cyrillic letter
        "http://pacs。example/",
        "http://pacs%2eexample/",
        "http://pacs.example\n.evil.example/",
        "http:// pacs.example/",
        " http://pacs.example/",
        "http://pacs.example:/",
        "http://pacs.example:0/",
        "http://pacs.example:99999/",
        "http://pacs.example:eighty/",
        "http://pacs.example../",
        "http:///dicom-web",
        "http:pacs.example",
        "//pacs.example/",
        "pacs.example",
        "ftp://pacs.example/",
        "file:///etc/passwd",
        "http://[2001:db8::1/",
        "",
    ],
)
def test_anything_else_is_refused(url):
    with pytest.raises(EndpointNotAllowed):
        ALLOWED.check(url)


def test_the_message_names_the_host_and_no_more():
    with pytest.raises(EndpointNotAllowed) as caught:
        ALLOWED.check("http://evil.example:81/Patient/secret")
    assert str(caught.value) == "evil.example:81 is not among the allowed hosts"


def test_an_empty_list_allows_nothing():
    with pytest.raises(EndpointNotAllowed):
        AllowList([]).check("http://pacs.example/")


def test_our_own_servers_are_allowed_with_their_ports():
    settings = Settings(
        fhir_url="https://Fhir.example/r4",
        archive_url="http://[::1]:8042/dicom-web",
        allowed_hosts=("ehr.example",),
    )
    allowed = AllowList.from_settings(settings)
    assert allowed.check("https://fhir.example/r4") == "https://fhir.example/r4"
    assert allowed.check("http://[::1]:8042/dicom-web") == "http://[::1]:8042/dicom-web"
    assert allowed.check("https://ehr.example/fhir") == "https://ehr.example/fhir"
    with pytest.raises(EndpointNotAllowed):
        allowed.check("http://fhir.example/r4")


@pytest.mark.parametrize(
    "entry", ["", "http://pacs.example", "user@pacs", "pacs:port", "*.example", "pacs/x", "a b"]
)
def test_a_malformed_entry_is_a_configuration_error(entry):
    with pytest.raises(ConfigurationError, match="not a host"):
        AllowList([entry])
