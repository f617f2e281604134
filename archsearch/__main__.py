"""``python -m archsearch`` is the command line."""

from archsearch.cli import main

if __name__ == "__main__":
    main()
