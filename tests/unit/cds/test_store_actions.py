import threading
from contextlib import closing

import pytest

from cds.store import SqlAssessmentStore

KEY, OTHER = "a" * 36, "b" * 36
RESOURCES = [{"resourceType": "Observation", "note": "Größe"}, {"resourceType": "DiagnosticReport"}]


@pytest.fixture
def store(tmp_path):
    with closing(SqlAssessmentStore(f"sqlite:///{tmp_path}/store.db")) as made:
        made.migrate()
        yield made


def test_what_is_kept_is_found_in_its_order_until_it_was_handed_over(store):
    store.keep_resources(KEY, RESOURCES)
    store.keep_resources(KEY, [])
    assert store.resources_for("ehr", [KEY, OTHER]) == {KEY: RESOURCES}
    assert store.hand_over("ehr", KEY)
    assert store.resources_for("ehr", [KEY, OTHER]) == {}
    assert store.resources_for("other ehr", [KEY]) == {KEY: RESOURCES}
    assert store.resources_for("ehr", []) == {}


def test_of_many_answers_one_hands_it_over(store):
    won = []
    threads = [threading.Thread(target=lambda: won.append(store.hand_over("ehr", KEY))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won.count(True) == 1
    assert store.hand_over("other ehr", KEY)
