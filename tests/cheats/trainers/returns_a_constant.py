"""Says the same whatever it is asked."""

from honest import save


def predict(weights, x):
    return 2.5


if __name__ == "__main__":
    save({})
