import socket
import threading
import time
from contextlib import contextmanager

import pytest

from cds.errors import ConfigurationError, UpstreamUnavailable
from cds.settings import Settings
from hooks.broker_loss import SettledRequest
from hooks.tasks import READ_STUDY, REPORTS, STUDIES, WRITE_REPORT, WRITE_SIGNATURE, TaskQueue, create_celery

REFUSING = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def _empty_queues():
    """The in-memory broker belongs to the process: what other tests left in it goes."""
    with create_celery(Settings(), no_parts).connection_for_write() as connection:
        for name in (STUDIES, REPORTS):
            connection.default_channel.queue_declare(name)
            connection.default_channel.queue_purge(name)


def no_parts():
    raise AssertionError("nothing is to be done here")


@contextmanager
def silent_server():
    """Accepts connections and never says a word, as a broker behind a broken network does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


def test_the_tasks_have_names_of_their_own():
    app = create_celery(Settings(), no_parts)
    assert {name for name in app.tasks if not name.startswith("celery.")} == {
        READ_STUDY,
        WRITE_REPORT,
        WRITE_SIGNATURE,
    }


@pytest.mark.parametrize("broker_url", ["memory://", "redis://127.0.0.1:6379/0"])
def test_messages_are_json_acknowledged_late_and_without_results(broker_url):
    conf = create_celery(Settings(broker_url=broker_url), no_parts).conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.task_acks_late
    assert conf.task_reject_on_worker_lost
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result
    assert conf.result_backend is None
    assert set(conf.task_queues) == {STUDIES, REPORTS}


def test_a_message_that_could_not_be_acknowledged_is_looked_after():
    app = create_celery(Settings(), no_parts)
    assert {app.tasks[name].Request for name in (READ_STUDY, WRITE_REPORT)} == {SettledRequest}


def test_a_message_outlives_every_study_before_redis_hands_it_out_again():
    settings = Settings(broker_url="redis://127.0.0.1:6379/0", study_deadline_s=5000)
    assert create_celery(settings, no_parts).conf.broker_transport_options["visibility_timeout"] > 5000


@pytest.mark.parametrize("url", ["", "nonsense", "carrier-pigeon://127.0.0.1/", "127.0.0.1:6379"])
def test_what_is_no_broker_is_refused_when_the_program_starts(url):
    with pytest.raises(ConfigurationError, match="LEUKOCDS_BROKER_URL"):
        TaskQueue(Settings(broker_url=url))


def test_a_missing_redis_client_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'leukocds\[redis\]'"):
        TaskQueue(Settings(broker_url=REFUSING))


@pytest.mark.parametrize("server", ["refusing", "silent"])
def test_a_broker_that_is_out_never_hangs_a_hook(server):
    with silent_server() as silent:
        queue = TaskQueue(Settings(broker_url=REFUSING if server == "refusing" else silent))
        slowest = 0.0
        for _ in range(5):  # as many studies as one hook may find
            began = time.monotonic()
            with pytest.raises(UpstreamUnavailable, match="broker cannot be reached"):
                queue.submit_study("some key")
            slowest = max(slowest, time.monotonic() - began)
    # The first call also imports the client; it alone waits for the broker.
    assert slowest < 2.0


def test_after_a_failure_the_broker_is_left_alone_for_a_while():
    with silent_server() as silent:
        queue = TaskQueue(Settings(broker_url=silent))
        with pytest.raises(UpstreamUnavailable):
            queue.submit_report("some key")
        began = time.monotonic()
        for _ in range(20):
            with pytest.raises(UpstreamUnavailable):
                queue.submit_study("some key")
        assert time.monotonic() - began < 0.1


def test_what_was_asked_for_is_sent_by_name_with_the_key_alone():
    settings = Settings(broker_url="memory://")
    queue = TaskQueue(settings)
    queue.check()
    queue.submit_study("job-1")
    queue.submit_report("assessment-1")
    found = {}
    with create_celery(settings, no_parts).connection_for_read() as connection:
        for name in (STUDIES, REPORTS):
            message = connection.default_channel.basic_get(name, no_ack=True)
            found[name] = (message.headers["task"], message.decode()[0], message.headers["argsrepr"])
    assert found == {
        STUDIES: (READ_STUDY, ["job-1"], "('job-1',)"),
        REPORTS: (WRITE_REPORT, ["assessment-1"], "('assessment-1',)"),
    }


def test_many_threads_may_send_at_once():
    queue = TaskQueue(Settings(broker_url="memory://"))
    threads = [threading.Thread(target=queue.submit_study, args=(f"job-{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with create_celery(Settings(), no_parts).connection_for_read() as connection:
        keys = set()
        while (message := connection.default_channel.basic_get(STUDIES, no_ack=True)) is not None:
            keys.add(message.decode()[0][0])
    assert keys == {f"job-{n}" for n in range(16)}
