"""Where rdsca touches the world: AWS, databases, the wire, files."""
