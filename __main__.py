"""``python -m cryoprobe``: the command line, also where its command is not on the path."""

from cryoprobe.cli import main

if __name__ == "__main__":
    main()
