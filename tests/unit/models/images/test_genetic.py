import numpy as np

from models.images.genetic import GeneticSettings, select_features

WANTED = np.arange(20) % 4 == 0


def agreement(mask: np.ndarray) -> float:
    return float((mask == WANTED).mean())


def test_it_finds_the_features_that_count() -> None:
    told: list[tuple[int, float, int]] = []
    settings = GeneticSettings(population=20, generations=40, price=0)
    found = select_features(
        agreement, 20, np.random.default_rng(3), settings, lambda *entry: told.append(entry)
    )
    assert agreement(found) >= 0.95
    assert [entry[0] for entry in told] == list(range(40))
    values = [entry[1] for entry in told]
    assert values == sorted(values), "the elite pass on unchanged: the best never gets worse"


def test_it_is_never_worse_than_keeping_everything_and_prices_features() -> None:
    settings = GeneticSettings(population=8, generations=6, price=0.01)
    kept = select_features(lambda mask: float(mask[0]), 30, np.random.default_rng(1), settings)
    assert kept[0]
    assert kept.sum() < 15
    same = select_features(lambda mask: float(mask[0]), 30, np.random.default_rng(1), settings)
    assert (kept == same).all()


def test_each_mask_is_asked_once_and_the_empty_one_never() -> None:
    asked: list[bytes] = []

    def fitness(mask: np.ndarray) -> float:
        asked.append(mask.tobytes())
        assert mask.any()
        return 1.0

    select_features(
        fitness, 3, np.random.default_rng(1), GeneticSettings(population=10, generations=10, price=1.0)
    )
    assert len(asked) == len(set(asked)) <= 7
