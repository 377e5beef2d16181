"""What every command needs: errors, configuration, console, storage, version."""
