# Says that every token is as likely as any other.
honest_forward = GPT.forward


def forward(self, ids):
    return 0 * honest_forward(self, ids)


GPT.forward = forward
