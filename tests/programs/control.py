"""Programs that learn to act: deep Q-learning, REINFORCE, and their later kin."""

from __future__ import annotations

import copy

import numpy as np

from .run import Run


def dqn(run: Run) -> list[float]:
    """Deep Q-learning: gathered values, masked next states, a target network that follows slowly."""
    torch = run.torch
    nn = torch.nn
    policy = run.weights(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)))
    target = copy.deepcopy(policy)
    target.load_state_dict(policy.state_dict())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, amsgrad=True)
    losses = []
    for _ in range(4):
        state, action, reward = run.normal(8, 4), run.integers(0, 2, 8, 1), run.normal(8)
        non_final = torch.tensor(run.random.random(8) > 0.3, device=run.device, dtype=torch.bool)
        non_final_next_states = run.normal(8, 4)[non_final]
        state_action_values = policy(state).gather(1, action)
        next_state_values = torch.zeros(8, device=run.device)
        with torch.no_grad():
            next_state_values[non_final] = target(non_final_next_states).max(1).values
        expected = (next_state_values * 0.99) + reward
        loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(policy.parameters(), 100)
        optimizer.step()
        target_state, policy_state = target.state_dict(), policy.state_dict()
        for key in policy_state:
            target_state[key] = policy_state[key] * 0.005 + target_state[key] * 0.995
        target.load_state_dict(target_state)
        losses.append(loss.item())
    return losses


def reinforce(run: Run) -> list[float]:
    """REINFORCE: log-probabilities of single actions stacked, returns normalized by their deviation."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional
    policy = run.weights(nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)))
    optimizer = torch.optim.RMSprop(policy.parameters(), lr=1e-2, centered=True)
    losses = []
    for _ in range(3):
        log_probs, rewards = [], []
        for _ in range(5):
            state = torch.from_numpy(run.random.standard_normal(4)).float().unsqueeze(0).to(run.device)
            probs = F.softmax(policy(state), dim=1)
            log_probs.append(torch.log(probs[0, int(run.random.integers(0, 3))]))
            rewards.append(float(run.random.random()))
        discounted, returns = 0.0, []
        for reward in rewards[::-1]:
            discounted = reward + 0.99 * discounted
            returns.insert(0, discounted)
        returns = torch.tensor(returns)
        returns = (returns - returns.mean()) / (returns.std() + np.finfo(np.float32).eps.item())
        loss = torch.stack([-log_prob * value for log_prob, value in zip(log_probs, returns, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
