"""Feature selection by a genetic algorithm (Holland 1975; Siedlecki and Sklansky 1989)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneticSettings:
    population: int = 24
    generations: int = 20
    #: The best that pass into the next generation unchanged.
    elite: int = 2
    #: How many contend to become a parent.
    tournament: int = 3
    #: What each feature costs: of two sets that do alike well, the smaller wins.
    price: float = 0.0005


def select_features(
    fitness: Callable[[Mask], float],
    features: int,
    rng: np.random.Generator,
    settings: GeneticSettings = GeneticSettings(),
    on_generation: Callable[[int, float, int], None] = lambda generation, best, kept: None,
) -> Mask:
    """The best mask ``(features,)`` found. fitness: how good a mask is, higher is better; asked once for each mask.

    Uniform crossover of two tournament winners, then each gene flips with the chance 1 / features. on_generation is
    told the generation, the best value so far (less the price) and how many features that mask keeps.
    """
    known: dict[bytes, float] = {}

    def value(mask: Mask) -> float:
        key = np.packbits(mask).tobytes()
        if key not in known:
            known[key] = fitness(mask) - settings.price * int(mask.sum()) if mask.any() else float("-inf")
        return known[key]

    # All features are one of the first generation: what is found is never worse than not selecting.
    population = [np.ones(features, bool), *(rng.random((settings.population - 1, features)) < 0.5)]
    for generation in range(settings.generations):
        values = np.array([value(mask) for mask in population])
        order = np.argsort(-values, kind="stable")
        best = population[int(order[0])]
        on_generation(generation, float(values[order[0]]), int(best.sum()))
        children = [population[int(i)] for i in order[: settings.elite]]
        while len(children) < settings.population:
            mother, father = (
                population[
                    int(max(rng.integers(len(population), size=settings.tournament), key=lambda i: values[i]))
                ]
                for _ in range(2)
            )
            child = np.where(rng.random(features) < 0.5, mother, father)
            children.append(child ^ (rng.random(features) < 1 / features))
        population = children
    return max(population, key=value)
