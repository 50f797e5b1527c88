"""`python -m autoresearch`: the same as the program `autoresearch`."""

from autoresearch.cli.app import main

if __name__ == "__main__":
    main()
