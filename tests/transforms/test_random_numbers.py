"""No thread's random numbers are drawn, seeded or rewound by our work."""

import random
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from QEfficient.export.isolated import isolated
from QEfficient.export.random_numbers import OwnRandomNumbers
from QEfficient.source.loading import load

Numbers = list[tuple[float, float, float]]


def draw() -> tuple[float, float, float]:
    return torch.rand(1).item(), np.random.random(), random.random()


def expected(count: int) -> Numbers:
    """What the generators give next, of copies of them."""
    ours = torch.Generator()
    ours.set_state(torch.get_rng_state())
    numpys, pythons = np.random.RandomState(), random.Random()
    numpys.set_state(np.random.get_state())
    pythons.setstate(random.getstate())
    return [(torch.rand(1, generator=ours).item(), numpys.random_sample(), pythons.random()) for _ in range(count)]


@pytest.mark.parametrize("call", [isolated(lambda work: work()), load], ids=["a call", "a load"])
def test_another_threads_numbers_go_on(call: Callable[[Callable[[], object]], object]) -> None:
    """Before, beside and after our work, and beside draws in a load."""
    wanted, found = expected(9), [draw()]
    turn = threading.Barrier(2, timeout=30)

    def beside() -> None:
        for _ in range(3):
            turn.wait()
            found.extend([draw(), draw()])
            turn.wait()

    def work() -> None:
        for _ in range(3):
            if call is load:
                nn.Linear(8, 8)
            turn.wait()
            turn.wait()

    other = threading.Thread(target=beside)
    other.start()
    call(work)
    other.join()
    assert [*found, draw(), draw()] == wanted


def test_a_load_draws_the_same_numbers_each_time() -> None:
    one, two = (load(lambda: [nn.Linear(4, 4).weight, torch.rand(3)]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[0].flatten()[:3], one[1])


def own() -> Tensor:
    return torch.rand(3, generator=torch.Generator().manual_seed(5))


half, square = torch.full((4,), 0.5), torch.empty(4, 4)
DRAWS: dict[str, Callable[[], Any]] = {
    "rand": lambda: torch.rand(3),
    "randn": lambda: torch.randn(2, 2, dtype=torch.float64),
    "randint": lambda: torch.randint(0, 10**6, (3,)),
    "randperm": lambda: torch.randperm(50),
    "rand_like": lambda: torch.rand_like(half),
    "randn_like": lambda: torch.randn_like(half),
    "randint_like": lambda: torch.randint_like(half, 10**6),
    "normal": lambda: torch.normal(0.0, 1.0, (3,)),
    "bernoulli": lambda: torch.bernoulli(torch.full((64,), 0.5)),
    "multinomial": lambda: torch.multinomial(torch.ones(50), 20),
    "poisson": lambda: torch.poisson(torch.full((9,), 50.0)),
    **{
        name: lambda name=name: getattr(torch.empty(64), name)(*([0.5] if name in ("geometric_", "bernoulli_") else []))
        for name in (
            "uniform_ normal_ random_ bernoulli_ exponential_ geometric_ cauchy_ log_normal_".split()  # in place
        )
    },
    **{
        f"init.{name}": lambda name=name: getattr(nn.init, name)(torch.empty(8, 8))
        for name in (
            "uniform_ normal_ trunc_normal_ xavier_uniform_ xavier_normal_ kaiming_uniform_ kaiming_normal_ "
            "orthogonal_".split()
        )
    },
    "init.sparse_": lambda: nn.init.sparse_(torch.empty(8, 8), 0.5),
    "a layer": lambda: nn.Conv2d(3, 4, 2).weight,
    "an embedding": lambda: nn.Embedding(4, 4).weight,
}


@pytest.mark.parametrize("name", DRAWS)
def test_each_way_to_draw(name: str) -> None:
    drawn = DRAWS[name]
    before = torch.get_rng_state()
    with OwnRandomNumbers():
        one = drawn()
        assert not torch.equal(one, drawn())
    with OwnRandomNumbers():
        assert torch.equal(one, drawn())
    assert torch.equal(torch.get_rng_state(), before)
    drawn()
    assert not torch.equal(torch.get_rng_state(), before)  # else the line above it would say nothing


def test_a_models_own_generator_is_used() -> None:
    with OwnRandomNumbers():
        assert torch.equal(own(), torch.rand(3, generator=torch.Generator().manual_seed(5)))
    assert torch.equal(own(), torch.rand(3, generator=torch.Generator().manual_seed(5)))


def test_nothing_is_drawn_on_the_meta_device() -> None:
    with OwnRandomNumbers():
        first = torch.rand(3)
    with OwnRandomNumbers():
        with torch.device("meta"):
            assert nn.Linear(2, 2).weight.is_meta and torch.rand(3).is_meta
        assert torch.rand(3, device="meta").is_meta
        assert torch.equal(torch.rand(3), first)
