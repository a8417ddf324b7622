"""`python -m limpet_activity`."""

from limpet_activity.process.main import main

main()
