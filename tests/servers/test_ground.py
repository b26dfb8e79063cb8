"""The servers that the other tests rely on are the real ones, and each test gets its own corner of them."""

import psycopg
import redis
import requests


def test_hapi_speaks_r4_and_takes_rest_hook_subscriptions(hapi_url: str) -> None:
    statement = requests.get(f"{hapi_url}/metadata", timeout=30).json()
    assert statement["fhirVersion"].startswith("4.0")
    subscription = {
        "resourceType": "Subscription",
        "status": "requested",
        "reason": "test",
        "criteria": "ImagingStudy?status=available",
        "channel": {
            "type": "rest-hook",
            "endpoint": "http://127.0.0.1:9/none",
            "payload": "application/fhir+json",
        },
    }
    created = requests.post(f"{hapi_url}/Subscription", json=subscription, timeout=30)
    assert created.status_code == 201
    deleted = requests.delete(f"{hapi_url}/Subscription/{created.json()['id']}", timeout=30)
    assert deleted.status_code == 200


def test_hapi_takes_references_to_other_servers_but_keeps_its_own_integrity(hapi_url: str) -> None:
    observation = {
        "resourceType": "Observation",
        "status": "final",
        "code": {"text": "test"},
        "subject": {"reference": "http://elsewhere.example/fhir/Patient/1"},
    }
    assert requests.post(f"{hapi_url}/Observation", json=observation, timeout=30).status_code == 201
    observation["subject"] = {"reference": "Patient/there-is-no-such-patient"}
    assert requests.post(f"{hapi_url}/Observation", json=observation, timeout=30).status_code == 400


def test_hapi_validates(hapi_url: str) -> None:
    report = {"resourceType": "DiagnosticReport", "status": "bogus", "code": {"text": "test"}}
    outcome = requests.post(f"{hapi_url}/DiagnosticReport/$validate", json=report, timeout=120).json()
    assert any(issue["severity"] in ("error", "fatal") for issue in outcome["issue"])


def test_orthanc_speaks_dicomweb(orthanc_url: str) -> None:
    answer = requests.get(
        f"{orthanc_url}/studies",
        params={"StudyInstanceUID": "1.2.3.4.5.6.7.8.9.0"},
        headers={"Accept": "application/dicom+json"},
        timeout=30,
    )
    assert answer.status_code in (200, 204)
    assert not answer.content or answer.json() == []


def test_each_test_gets_an_empty_redis_database(redis_database_url: str) -> None:
    with redis.Redis.from_url(redis_database_url, socket_timeout=10) as database:
        assert database.dbsize() == 0
        database.set("left", "behind")
    assert not redis_database_url.endswith("/0")


def test_each_test_gets_an_empty_postgres_database(postgres_database_url: str) -> None:
    address = postgres_database_url.replace("+psycopg", "", 1)
    with psycopg.connect(address, connect_timeout=10) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
