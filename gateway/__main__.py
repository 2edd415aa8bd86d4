"""`python -m gateway` is `counterpart-gateway`."""

from gateway.cli import main

main()
