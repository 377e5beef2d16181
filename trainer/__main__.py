"""`python -m trainer` is `openwit-train`."""

from trainer.cli import main

if __name__ == "__main__":
    main()
