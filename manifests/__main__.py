"""`python -m manifests` is `openwit-manifest`."""

from manifests.cli import main

if __name__ == "__main__":
    main()
