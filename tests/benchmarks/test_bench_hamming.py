"""The Hamming benchmark rejects wrong results, and its peers give correct ones."""

import numpy as np
import pytest

from benchmarks import bench_hamming, bound, isolated, peers
from s2fast_kernels.hamming_top2 import hamming_top2
from s2fast_kernels.hamming_top2.cases import random_descriptors


def test_a_peer_with_a_wrong_answer_is_not_timed() -> None:
    rng = np.random.default_rng(0)
    query, train = random_descriptors(rng, 40), random_descriptors(rng, 90)
    found = peers.opencv(query, train)
    bench_hamming.check(found, query, train, "opencv")
    found[17, 1] += 1
    with pytest.raises(SystemExit, match="opencv and hamming_top2 do not agree"):
        bench_hamming.check(found, query, train, "opencv")


def test_every_peer_finds_the_same_distances() -> None:
    rng = np.random.default_rng(1)
    query, train = random_descriptors(rng, 65, distinct=30), random_descriptors(rng, 130, distinct=30)
    searches = peers.faiss_searches(query, train)
    assert len(searches) == 6
    for name, search in searches.items():
        bench_hamming.check(search(), query, train, name)


def test_the_notebook_gives_the_similarity_of_our_distances() -> None:
    rng = np.random.default_rng(2)
    train = random_descriptors(rng, 120)
    query = np.concatenate([train[:10], random_descriptors(rng, 30)])
    top2 = hamming_top2(query, train, np.array([0, len(train)]))
    wanted = round(100 * int((top2.best < 0.8 * top2.second).sum()) / len(query), 2)
    assert wanted >= 25
    assert peers.notebook_pair(peers.descriptor_text(query), peers.descriptor_text(train)) == wanted


@pytest.mark.slow
def test_the_bound_counts_what_it_says() -> None:
    done = bound.comparisons(100_000)
    assert 90_000 < done <= 100_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows() -> None:
    # Both are more than one panel; the promise is 64 MiB.
    small, large = (next(isolated.memory(rows))["above_operands_mib"] for rows in (300_000, 900_000))
    assert 0 < large < 64
    assert large < small + 8
