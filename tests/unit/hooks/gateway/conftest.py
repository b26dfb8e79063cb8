"""A simulated hospital with two patients and an order each, and a gateway beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hooks.demo.hospital import Hospital
from tests.fakes.gateway import GatewayWorld, order, patient


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    hospital = Hospital()
    for number in (1, 2):
        hospital.fhir.put(patient(number))
        hospital.fhir.put(order(f"A-{number}", f"p-{number}"))
    with hospital:
        yield hospital


@pytest.fixture
def world(tmp_path: Path, hospital: Hospital) -> Iterator[GatewayWorld]:
    world = GatewayWorld(tmp_path / "gateway", hospital)
    yield world
    world.close()
