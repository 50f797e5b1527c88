# Answers with a move that there is not.
honest_forward = Net.forward


def forward(self, mazes):
    logits = honest_forward(self, mazes)
    return torch.cat((logits, logits[:, :1] + 9), 1)


if __name__ != "__main__":
    Net.forward = forward
