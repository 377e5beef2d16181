"""What the numbers of a plan come from: rates, and a sample of the inputs."""
