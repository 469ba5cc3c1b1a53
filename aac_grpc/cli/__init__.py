"""The `aac` command: a person's tools, on the SDK.

Only up, down, status, doctor, serve and replay reach server code.
"""


def main() -> None:
    """Runs the command line; ends the process with its exit code."""
    from aac_grpc.cli.app import run

    run()
