import pytest
import torch
from torch import nn

from archsearch.costs.latency import measure


class Sleepless(nn.Module):
    """Work in proportion to ``rounds``."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.conv = nn.Conv2d(3, 64, 3, padding=1)
        self.again = nn.Conv2d(64, 64, 3, padding=1)
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes.append(self.training)
        x = self.conv(x)
        for _ in range(self.rounds):
            x = self.again(x)
        return x


def test_more_work_takes_longer_and_every_round_counts() -> None:
    nets = {"small": Sleepless(1), "large": Sleepless(8)}
    rounds: list[int] = []
    found = measure(nets, [(64, 64), (64, 64)], warmup=2, repeats=9, on_round=rounds.append)
    assert found["large"].median_ms > 2 * found["small"].median_ms
    assert rounds == list(range(1, 12))
    assert [len(net.modes) for net in nets.values()] == [11, 11]
    assert not any(nets["small"].modes)
    one = found["small"]
    assert (one.repeats, one.batch, one.threads, one.runtime) == (9, 1, 1, "torch-eager")
    assert one.iqr_ms >= 0
    assert one.median_ms <= one.p95_ms
    assert one.device


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    measure({"a": Sleepless(1)}, [(8, 8)], threads=1, warmup=0, repeats=1)
    assert torch.get_num_threads() == before


def test_numbers_must_be_positive() -> None:
    with pytest.raises(ValueError, match="repeats 0"):
        measure({"a": Sleepless(1)}, [(8, 8)], repeats=0)
