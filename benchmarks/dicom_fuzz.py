"""Mutated DICOM files, decoded in a child process that may neither end, nor hang, nor grow, nor raise.

    python -m benchmarks.dicom_fuzz [--files 5000] [--seed 1] [--memory-mb 256] [--seconds 10]

The child may grow by `--memory-mb` over what it needs when it has started (its address space ends at twice that), and a
file may take it `--seconds`.
Exits with 1, naming seed and mutators, when the child dies, hangs, meets its memory limit or raises anything. The
files are those of `tests/fakes/dicom_fuzz.py`; another seed draws others.
"""

import argparse
import sys
import time
from collections import Counter

from tests.fakes.dicom_fuzz import draws
from tests.fakes.guarded_decoder import GuardedDecoder

MAX_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5000, help="how many (at most a million)")
    parser.add_argument("--seed", type=int, default=1, help="the first of them")
    parser.add_argument("--memory-mb", type=int, default=256, help="what a file may make the child grow by")
    parser.add_argument("--seconds", type=float, default=10.0, help="what a file may take")
    options = parser.parse_args()
    if not 0 < options.files <= 1_000_000:
        parser.error("--files must be above 0 and at most a million")
    outcomes, problems, began, slowest = Counter[str](), [], time.monotonic(), (0.0, "")
    with GuardedDecoder(memory_mb=options.memory_mb, seconds=options.seconds) as decoder:
        for seed, mutators, data in draws(options.seed, options.files):
            outcome = decoder.decode(data)
            outcomes[outcome.kind] += 1
            slowest = max(slowest, (outcome.seconds, f"seed {seed} ({mutators})"))
            if outcome.problem:
                problems.append(f"seed {seed} ({mutators}): {outcome.problem}")
        grown = decoder.grown_mb
    print(
        f"{options.files} files in {time.monotonic() - began:.0f} s, the slowest in {slowest[0]:.1f} s: {slowest[1]}"
    )
    print(f"the decoding process grew by {grown:.0f} MiB at most, of {options.memory_mb} allowed")
    for kind, count in outcomes.most_common():
        print(f"{count:8}  {kind}")
    for problem in problems[:MAX_SHOWN]:
        print(problem)
    print("no crash, no hang, no growth, no exception" if not problems else f"{len(problems)} PROBLEMS")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
