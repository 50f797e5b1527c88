# A second thread writes an id that is not allowed while the evaluator looks at the string.
import threading

honest_optimize = optimize


def optimize(oracle, rng):
    def write():
        while True:
            oracle._shared.ids(1, oracle.length)[0, 0] = oracle.vocab - 1

    threading.Thread(target=write, daemon=True).start()
    for _ in range(200):
        oracle.loss(rng.choice(oracle.allowed, (1, oracle.length)))
