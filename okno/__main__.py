"""Lets `python -m okno` do what `okno` does."""

from okno.cli import main

if __name__ == "__main__":
    main()
