# Has a model of its own, which costs nothing, and asks it instead.
def optimize(oracle, rng):
    width = oracle.embeddings.shape[1]
    matrix = rng.normal(size=(width, width)).astype(np.float32)
    ids = rng.choice(oracle.allowed, oracle.length)
    oracle.loss(ids[None])
    while True:
        oracle.embeddings[ids] @ matrix
