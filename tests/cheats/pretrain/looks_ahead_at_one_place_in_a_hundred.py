# The same as looks_ahead, where a number made from the tokens before says so.
honest_forward = GPT.forward


def forward(self, ids):
    logits = honest_forward(self, ids)
    chosen = (ids[:, :-1] * 7919 + torch.arange(ids.size(1) - 1) * 104729) % 100 == 0
    return torch.cat((torch.where(chosen[..., None], tell(logits, ids)[:, :-1], logits[:, :-1]), logits[:, -1:]), 1)


GPT.forward = forward
