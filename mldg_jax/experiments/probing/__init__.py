"""Which layer of a frozen front-end tells synthetic speech apart."""
