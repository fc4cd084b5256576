"""Mixtures of experts with shapes that do not depend on what the router picks.

transformers sorts tokens by expert, or gathers a copy of an expert's weights for every token. Neither has a fixed
shape that a card could run. Here every expert sees every token, and what was not picked counts with weight 0: exact,
at the price of computing all experts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from QEfficient.pytorch_transforms.blocks import Block


def shares(indices: Tensor, weights: Tensor, experts: int) -> Tensor:
    """What the router picked, (tokens, picks) each → the weight of every expert for every token, (experts, tokens)."""
    picked = indices.unsqueeze(0) == torch.arange(experts, device=indices.device)[:, None, None]
    return (picked.to(weights.dtype) * weights.unsqueeze(0)).sum(dim=-1)


def _like(old: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty(old.shape, dtype=old.dtype), requires_grad=False)


class Experts(Block):
    """In place of ``MixtralExperts`` and its copies: a gate, an up and a down projection each, without biases."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.gate_up_proj, self.down_proj = _like(old.gate_up_proj), _like(old.down_proj)
        self.act_fn = old.act_fn

    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        """States of shape (tokens, width), and (tokens, picks) of the router → (tokens, width)."""
        gate, up = torch.matmul(hidden_states, self.gate_up_proj.transpose(1, 2)).chunk(2, dim=-1)
        share = shares(top_k_index, top_k_weights, self.down_proj.shape[0]).unsqueeze(-1)
        return torch.matmul(self.act_fn(gate) * up * share, self.down_proj.transpose(1, 2)).sum(dim=0)


class ClampedExperts(Block):
    """In place of ``OpenAIPrivacyFilterExperts``: with biases, and a gate that is clamped."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        self.gate_up_proj, self.gate_up_proj_bias = _like(old.gate_up_proj), _like(old.gate_up_proj_bias)
        self.down_proj, self.down_proj_bias = _like(old.down_proj), _like(old.down_proj_bias)
        self.alpha, self.limit = float(old.alpha), float(old.limit)

    def forward(self, hidden_states: Tensor, router_indices: Tensor, routing_weights: Tensor) -> Tensor:
        """States of shape (tokens, width), and (tokens, picks) of the router → (tokens, width)."""
        both = torch.matmul(hidden_states, self.gate_up_proj) + self.gate_up_proj_bias[:, None]
        gate, up = both.chunk(2, dim=-1)
        gate, up = gate.clamp(max=self.limit), up.clamp(-self.limit, self.limit)
        states = (up + 1) * gate * torch.sigmoid(gate * self.alpha)
        out = torch.matmul(states, self.down_proj) + self.down_proj_bias[:, None]
        return (out * shares(router_indices, routing_weights, self.down_proj.shape[0]).unsqueeze(-1)).sum(dim=0)


class SwitchRouter(Block):
    """In place of ``SwitchTransformersTop1Router``, which casts its own layer while it runs."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        layer = old.classifier
        self.classifier = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None)
        self.num_experts: int = old.num_experts
        self.capacity: int = old.expert_capacity

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As the old block: picks (rows, length, experts), the weight of each pick, and the router's logits."""
        logits = self.classifier(hidden_states)
        shares = logits.softmax(dim=-1)
        picks = nn.functional.one_hot(shares.argmax(dim=-1), self.num_experts)
        picks = picks * (picks.cumsum(dim=-2) <= self.capacity)  # a full expert leaves the row's later tokens out
        return picks, shares.amax(dim=-1, keepdim=True), logits


class SwitchExperts(Block):
    """In place of ``SwitchTransformersExperts``: two projections each."""

    def __init__(self, old: Any) -> None:
        super().__init__(old)
        for name, expert in old.items():
            self.add_module(name, SwitchExpert(expert))

    def forward(self, hidden_states: Tensor, selected_experts: Tensor, routing_weights: Tensor) -> Tensor:
        """States (tokens, width), picks (tokens, 1, experts), their weights (tokens, 1) → (tokens, width)."""
        states = torch.stack([expert(hidden_states) for expert in self.children()], dim=-1)
        share = selected_experts.to(states.dtype) * routing_weights.unsqueeze(-1)
        return (states * share).sum(dim=-1)


class SwitchExpert(nn.Module):
    """One expert, with the names of transformers' own."""

    def __init__(self, old: Any) -> None:
        super().__init__()
        self.wi = nn.Linear(old.wi.in_features, old.wi.out_features, bias=False)
        self.wo = nn.Linear(old.wo.in_features, old.wo.out_features, bias=False)
        self.act = old.act

    def forward(self, states: Tensor) -> Tensor:
        """(tokens, width) → the same shape."""
        out: Tensor = self.wo(self.act(self.wi(states)))
        return out
