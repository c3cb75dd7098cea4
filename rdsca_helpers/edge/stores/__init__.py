"""Trust stores of clients; one file for each kind."""
