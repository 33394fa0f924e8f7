"""Programs of later reinforcement learning: clipped policies, soft actors, a critic beside the actor."""

from __future__ import annotations

import copy
import math
from typing import Any

from .run import Run


def ppo(run: Run) -> list[float]:
    """PPO: orthogonal weights, generalized advantages backwards in time, clipped ratios over minibatches."""
    torch = run.torch
    nn = torch.nn

    def layer_init(layer: Any, std: float = math.sqrt(2), bias_const: float = 0.0) -> Any:
        torch.nn.init.orthogonal_(layer.weight, std)
        torch.nn.init.constant_(layer.bias, bias_const)
        return layer

    class Agent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.critic = nn.Sequential(layer_init(nn.Linear(4, 8)), nn.Tanh(), layer_init(nn.Linear(8, 1), std=1.0))
            self.actor = nn.Sequential(layer_init(nn.Linear(4, 8)), nn.Tanh(), layer_init(nn.Linear(8, 3), std=0.01))

        def evaluate(self, x: Any, action: Any) -> tuple[Any, Any, Any]:
            logits = self.actor(x)
            logits = logits - logits.logsumexp(dim=-1, keepdim=True)
            probs = logits.exp()
            log_prob = logits.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)
            return log_prob, -(probs * logits).sum(-1), self.critic(x)

    agent = run.weights(Agent())
    optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-3, eps=1e-5)
    steps, envs = 4, 2
    obs = torch.zeros((steps, envs) + (4,)).to(run.device)
    actions = torch.zeros((steps, envs)).to(run.device)
    logprobs, rewards, dones, values = (torch.zeros((steps, envs)).to(run.device) for _ in range(4))
    for step in range(steps):
        obs[step], actions[step] = run.normal(envs, 4), run.integers(0, 3, envs)
        with torch.no_grad():
            logprobs[step], _, value = agent.evaluate(obs[step], actions[step])
            values[step] = value.flatten()
        rewards[step] = torch.tensor(run.random.random(envs)).to(run.device).view(-1)
        dones[step] = torch.Tensor(run.random.random(envs) < 0.2).to(run.device)
    with torch.no_grad():
        advantages, last = torch.zeros_like(rewards).to(run.device), 0
        for t in reversed(range(steps - 1)):
            delta = rewards[t] + 0.99 * values[t + 1] * (1.0 - dones[t + 1]) - values[t]
            advantages[t] = last = delta + 0.99 * 0.95 * (1.0 - dones[t + 1]) * last
        returns = advantages + values
    b_obs, b_actions = obs.reshape((-1, 4)), actions.reshape(-1)
    b_logprobs, b_advantages, b_returns = logprobs.reshape(-1), advantages.reshape(-1), returns.reshape(-1)
    losses = []
    for _ in range(2):
        for inds in run.random.permutation(steps * envs).reshape(2, -1):
            newlogprob, entropy, newvalue = agent.evaluate(b_obs[inds], b_actions.long()[inds])
            logratio = newlogprob - b_logprobs[inds]
            ratio = logratio.exp()
            clipfrac = ((ratio - 1.0).abs() > 0.2).float().mean().item()
            mb = b_advantages[inds]
            mb = (mb - mb.mean()) / (mb.std() + 1e-8)
            pg_loss = torch.max(-mb * ratio, -mb * torch.clamp(ratio, 1 - 0.2, 1 + 0.2)).mean()
            v_loss = 0.5 * ((newvalue.view(-1) - b_returns[inds]) ** 2).mean()
            loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
            losses += [loss.item(), clipfrac]
    y_pred, y_true = values.cpu().numpy().ravel(), b_returns.cpu().numpy()
    return [*losses, float((y_true - y_pred).var())]


def soft_actor_critic(run: Run) -> list[float]:
    """SAC: a Gaussian squashed by tanh, two critics and their slow copies, a temperature that is learned."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class Actor(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.mean, self.logstd = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 2)
            self.register_buffer("action_scale", torch.tensor([2.0, 1.0], dtype=torch.float32))

        def forward(self, x: Any) -> tuple[Any, Any]:
            x = F.relu(self.fc(x))
            log_std = -5 + 0.5 * (0 - -5) * (torch.tanh(self.logstd(x)) + 1)
            mean, std = self.mean(x) / 8, log_std.exp()
            x_t = mean + std * run.normal(5, 2)
            y_t = torch.tanh(x_t)
            log_prob = -((x_t - mean) ** 2) / (2 * std**2) - log_std - math.log(math.sqrt(2 * math.pi))
            log_prob -= torch.log(self.action_scale * (1 - y_t.pow(2)) + 1e-6)
            return y_t * self.action_scale, log_prob.sum(1, keepdim=True)

    class Critic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc2 = nn.Linear(3 + 2, 8), nn.Linear(8, 1)

        def forward(self, x: Any, a: Any) -> Any:
            return self.fc2(F.relu(self.fc1(torch.cat([x, a], 1))))

    actor, qf1, qf2 = run.weights(Actor()), run.weights(Critic()), run.weights(Critic())
    qf1_target, qf2_target = copy.deepcopy(qf1), copy.deepcopy(qf2)
    q_optimizer = torch.optim.Adam(list(qf1.parameters()) + list(qf2.parameters()), lr=1e-2)
    actor_optimizer = torch.optim.Adam(list(actor.parameters()), lr=1e-2)
    log_alpha = torch.zeros(1, requires_grad=True, device=run.device)
    a_optimizer = torch.optim.Adam([log_alpha], lr=1e-2)
    losses = []
    for _ in range(2):
        state, action, reward, following = run.normal(5, 3), run.normal(5, 2), run.normal(5), run.normal(5, 3)
        alpha = log_alpha.exp().item()
        with torch.no_grad():
            next_action, next_log_pi = actor(following)
            target = torch.min(qf1_target(following, next_action), qf2_target(following, next_action))
            next_q = reward.flatten() + 0.99 * (target - alpha * next_log_pi).view(-1)
        qf_loss = sum(F.mse_loss(q(state, action).view(-1), next_q) for q in (qf1, qf2))
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()
        pi, log_pi = actor(state)
        actor_loss = ((alpha * log_pi) - torch.min(qf1(state, pi), qf2(state, pi))).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        alpha_loss = (-log_alpha.exp() * (log_pi.detach() + -2.0)).mean()
        a_optimizer.zero_grad()
        alpha_loss.backward()
        a_optimizer.step()
        for net, slow in ((qf1, qf1_target), (qf2, qf2_target)):
            for param, target_param in zip(net.parameters(), slow.parameters(), strict=True):
                target_param.data.copy_(0.1 * param.data + (1 - 0.1) * target_param.data)
        losses += [qf_loss.item(), actor_loss.item(), alpha_loss.item(), log_alpha.item()]
    return losses


def actor_critic(run: Run) -> list[float]:
    """Actor-critic with a recurrent state: an LSTM cell step by step, a GAE in Python, shared gradients by hand."""
    torch = run.torch
    nn, F = torch.nn, torch.nn.functional

    class ActorCritic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lstm = nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.LSTMCell(4 * 2 * 2, 6)
            self.critic_linear, self.actor_linear = nn.Linear(6, 1), nn.Linear(6, 3)
            self.lstm.bias_ih.data.fill_(0)
            self.lstm.bias_hh.data.fill_(0)
            self.train()

        def forward(self, inputs: Any) -> Any:
            inputs, (hx, cx) = inputs
            x = F.elu(self.conv(inputs)).view(-1, 16)
            hx, cx = self.lstm(x, (hx, cx))
            return self.critic_linear(hx), self.actor_linear(hx), (hx, cx)

    shared = run.weights(ActorCritic())
    model = ActorCritic().to(run.device)
    optimizer = torch.optim.Adam(shared.parameters(), lr=1e-2)
    cx, hx = torch.zeros(1, 6).to(run.device), torch.zeros(1, 6).to(run.device)
    losses = []
    for _ in range(2):
        model.load_state_dict(shared.state_dict())
        values, log_probs, rewards, entropies = [], [], [], []
        cx, hx = cx.detach(), hx.detach()
        for _ in range(2):
            value, logit, (hx, cx) = model((run.normal(4, 4).unsqueeze(0).unsqueeze(0), (hx, cx)))
            prob, log_prob = F.softmax(logit, dim=-1), F.log_softmax(logit, dim=-1)
            entropies.append(-(log_prob * prob).sum(1, keepdim=True))
            log_probs.append(log_prob.gather(1, run.integers(0, 3, 1, 1)))
            values.append(value)
            rewards.append(max(min(float(run.random.standard_normal()), 1), -1))
        R = torch.zeros(1, 1).to(run.device)
        values.append(R)
        policy_loss, value_loss, gae = 0, 0, torch.zeros(1, 1).to(run.device)
        for i in reversed(range(len(rewards))):
            R = 0.99 * R + rewards[i]
            value_loss = value_loss + 0.5 * (R - values[i]).pow(2)
            delta = rewards[i] + 0.99 * values[i + 1] - values[i]
            gae = gae * 0.99 * 0.95 + delta.detach()
            policy_loss = policy_loss - log_probs[i] * gae - 0.01 * entropies[i]
        optimizer.zero_grad()
        model.zero_grad()
        (policy_loss + 0.5 * value_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 50)
        for param, shared_param in zip(model.parameters(), shared.parameters(), strict=True):
            shared_param._grad = param.grad
        optimizer.step()
        losses += [policy_loss.item(), value_loss.item()]
    return losses
