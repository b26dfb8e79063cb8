"""Mangled pictures and sidecars: each ends somewhere where a person sees it, and none stops the others."""

import json
import random

import pytest

from tests.fakes.gateway import GatewayWorld
from tests.fakes.images import drawing, encoded

# Pillow warns of what it finds in some of them.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

_PICTURES = {
    "jpg": encoded(drawing()),
    "png": encoded(drawing(), "PNG"),
    "tif": encoded(drawing(), "TIFF", compression="tiff_lzw"),
}


def mangled(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        return bytes(changed[: rng.randrange(len(changed))])
    for _ in range(rng.choice((1, 4, 40))):
        # Headers are where it hurts.
        place = rng.randrange(min(len(changed), 700) if kind == 1 else len(changed))
        changed[place] = rng.randrange(256)
    if kind == 3:
        place = rng.randrange(len(changed))
        changed[place:place] = rng.randbytes(rng.randrange(1, 300))
    return bytes(changed)


@pytest.mark.parametrize("suffix", list(_PICTURES))
def test_mangled_pictures(world: GatewayWorld, suffix: str) -> None:
    rng = random.Random(suffix)
    for number in range(40):
        world.leave(f"{number}.{suffix}", mangled(_PICTURES[suffix], rng), {"accession_number": "A-1"})
    world.leave(f"whole.{suffix}", _PICTURES[suffix], {"accession_number": "A-2"})
    world.work()
    states = world.states()
    assert set(states) <= {"stored", "quarantined", "duplicate"}
    assert sum(states.values()) == 41
    assert states["quarantined"] > 5
    assert world.gateway.journal.held_up() == []
    assert "Patient/p-2" in {study.patient for study in world.queued}


def test_mangled_sidecars(world: GatewayWorld) -> None:
    rng = random.Random(7)
    whole = json.dumps(
        {"accession_number": "A-1", "objective": 100, "acquired": "2026-03-04T05:06:07Z"}
    ).encode()
    for number in range(60):
        name = f"{number}.jpg"
        world.leave(name, encoded(drawing(seed=number)))
        (world.folders.incoming / f"{name}.json").write_bytes(mangled(whole, rng))
    world.work()
    states = world.states()
    assert sum(states.values()) == 60
    assert set(states) <= {"stored", "quarantined"}
    assert world.gateway.journal.held_up() == []
