"""``python -m cis`` is the ``cis`` command."""

from cis.apps.cli.main import main

if __name__ == "__main__":
    main()
