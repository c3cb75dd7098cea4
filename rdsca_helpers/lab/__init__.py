"""The practice world: fake AWS in front of real TLS databases; nothing outside this folder knows of it."""
