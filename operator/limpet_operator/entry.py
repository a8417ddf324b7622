"""Where the `limpet` command begins: a Ctrl-C while it is still being loaded ends it without a word.

Loading takes about a second. Python would end it with a traceback of whatever import the signal happened to meet.
"""

import signal


def main() -> None:
    """Load the command and run it."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # Whoever starts it may also have it ignore the signal.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from limpet_operator import cli

    signal.signal(signal.SIGINT, usual)
    cli.main()
