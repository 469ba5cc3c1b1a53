"""`python -m aac_grpc.cli`."""

from aac_grpc.cli import main

main()
