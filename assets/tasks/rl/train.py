"""The trainer of the rl task: policy gradients on groups of completions. This is the file to improve.

    python train.py            one run within the budget of autoresearch.toml; by hand it is evaluated at once
    python train.py --resume   by hand: goes on from the last checkpoint of a run that was killed

What `finish` takes are the tensors of the base model, changed as you like: names and shapes must stay, since the grader
puts them into the harness's model (`harness/lm.py`) and runs nothing of this file.

B problems of a step, G completions of each (N = B G), P tokens of a prompt, C of a completion, T = P + C.
"""

from __future__ import annotations

import math
import sys
import time
from collections import Counter

from prepare import HERE, LENGTH, MOST_TESTS, PROFILE, base_model, rewards

# isort: split
# prepare comes first: it sets how torch's threads wait, and torch reads that when it is imported.
import torch
from harness.batches import Batches
from harness.checkpoints import Checkpoints
from harness.device import machine, prepare_device
from harness.finish import finish, log_step, seed_everything
from harness.lm import GPT, behind, write
from torch import Tensor, nn

# ------------------------------------------------------------------------------------------------------------
# Hyperparameters
# ------------------------------------------------------------------------------------------------------------

PROBLEMS = {"full": 64, "small": 32, "tiny": 16}[PROFILE]  # [4, 256] pow2
GROUP = 8  # [2, 32] pow2
TEMPERATURE = 1.0  # [0.5, 1.2]
LEARNING_RATE = 0.0001  # [0.00001, 0.003] log
BETA1 = 0.9  # [0.8, 0.95]
BETA2 = 0.99  # [0.9, 0.999]
WEIGHT_DECAY = 0.0  # [0, 0.3]
WARMUP = 0.05  # [0, 0.2]
FINAL_LR = 0.1  # [0, 0.5]
CLIP = 1.0  # [0.1, 10] log
LOG_EVERY_S = 3.0  # fixed

# ------------------------------------------------------------------------------------------------------------
# Policy gradients
# ------------------------------------------------------------------------------------------------------------


def advantages(won: Tensor) -> Tensor:
    """Rewards [B, G], centred in each group: how much better a completion is than the others of its problem (GRPO, Shao
    et al., 2024; without the division by the spread, which would weigh problems by how alike their rewards are)."""
    return won - won.mean(1, keepdim=True)


def loss_of(model: GPT, rows: Tensor, lengths: Tensor, end: int, advantage: Tensor) -> Tensor:
    """Minus the mean of advantage [N] times log-probability over all tokens of completions, their ends included, so
    that each token weighs the same (Yu et al., 2025). rows [N, T]: prompts of `lengths` [N] and what was written.

    A completion was drawn from this very model, so there is no ratio of probabilities to clip."""
    written = behind(rows, lengths, LENGTH)  # [N, C]
    begin, places = lengths[:, None], torch.arange(1, rows.size(1), device=rows.device)
    stop = begin + ((written == end).cumsum(1) == 0).sum(1, keepdim=True)  # [N, 1]: the place of the first end
    counted = (places >= begin) & (places <= stop) & (places < begin + LENGTH)  # [N, T - 1]
    logits = model(rows[:, :-1]) / TEMPERATURE
    nats = logits.log_softmax(-1).gather(-1, rows[:, 1:, None])[..., 0]  # [N, T - 1]
    return -(advantage[:, None] * nats * counted).sum() / counted.sum()


def rate_at(progress: float) -> float:
    """Learning rate when `progress` of the budget is spent: a short rise, then a line."""
    if progress < WARMUP:
        return LEARNING_RATE * max(progress / WARMUP, 0.05)
    return LEARNING_RATE * (1 - (1 - FINAL_LR) * (progress - WARMUP) / (1 - WARMUP))


def times(handed_out: Counter[int], numbers: list[int]) -> int:
    """Count the problems of a batch; how often the one of them that came most often was handed out."""
    handed_out.update(numbers)
    return max(handed_out[number] for number in numbers)


def main() -> None:
    seed_everything()
    own = machine()
    prepare_device(own)
    model = base_model().to(own.device)
    end = model.sizes.vocab - 1
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, (BETA1, BETA2), weight_decay=WEIGHT_DECAY)
    checkpoints = Checkpoints(HERE, model, optimizer)
    first, mean, before = checkpoints.resume(0, math.nan, 0)
    said, handed_out = time.monotonic(), Counter[int]()
    for step, ((ids, lengths, numbers), progress) in enumerate(Batches(HERE, own.device, PROBLEMS), int(first) + 1):
        often = before + times(handed_out, numbers.tolist())
        if GROUP * often > MOST_TESTS:  # the reward process would refuse
            print(f"no more   problems: each may be tested {MOST_TESTS} times in a run, and was", flush=True)
            break
        for group in optimizer.param_groups:
            group["lr"] = rate_at(progress)
        asked, lengths, numbers = (each.long().repeat_interleave(GROUP, 0) for each in (ids, lengths, numbers))
        rows = write(model, asked, lengths, LENGTH, end, TEMPERATURE)  # [N, T]
        won = rewards(numbers, behind(rows, lengths, LENGTH)).view(-1, GROUP)
        advantage = advantages(won).flatten()
        used = advantage != 0  # groups of which all or none are right teach nothing
        norm = torch.zeros(())
        if used.any():
            loss_of(model, rows[used], lengths[used], end, advantage[used]).backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if not math.isfinite(norm.item()):
            sys.exit(f"the gradient is {norm.item()} at step {step}: stopping")
        reward = won.mean().item()
        mean = reward if math.isnan(mean) else 0.9 * mean + 0.1 * reward
        log_step(HERE, step=step, progress=progress, reward=reward, used=used.float().mean().item(),
                 gradient=norm.item())  # fmt: skip
        if time.monotonic() - said >= LOG_EVERY_S:
            said = time.monotonic()
            print(f"step {step:6d}  {100 * progress:5.1f} %  reward {mean:.4f}", flush=True)
        checkpoints.save(progress, step, mean, often)
    finish(HERE, model, train_reward=mean)


if __name__ == "__main__":
    main()
